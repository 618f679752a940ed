//! The container: header, keys, tensor table. One case for every rule of llama.cpp's `gguf.cpp`, its `test-gguf.cpp`, and every
//! published hole in readers of the format.

use std::fs;

use wgllm::formats::TENSOR_TYPES;
use wgllm::gguf::{Gguf, Value};

use crate::gguf_file::{GgufFile, Meta, array};
use crate::tiny_model::Llama;
use crate::{Case, each_is_refused, load, refused};

const U64_MAX: u64 = u64::MAX;

fn fresh() -> GgufFile {
    Llama { layers: 1, ..Llama::default() }.file()
}

const HEADER: &[Case] = &[
    ("bad magic", |f| f.magic = *b"GGML", &["no GGUF file", "GGML"]),
    ("version 0", |f| f.version = 0, &["version 0"]),
    ("version 1", |f| f.version = 1, &["version 1"]),
    ("version of the future", |f| f.version = 4, &["version 4", "2 and 3"]),
    ("big-endian", |f| f.version = 3u32.swap_bytes(), &["endian"]),
    ("more tensors than bytes", |f| f.n_tensors = Some(1 << 40), &["1099511627776 tensors"]),
    ("most tensors", |f| f.n_tensors = Some(i64::MAX as u64), &["9223372036854775807 tensors"]),
    ("negative number of tensors", |f| f.n_tensors = Some(U64_MAX), &["-1 tensors"]),
    ("more keys than bytes", |f| f.n_keys = Some(1 << 40), &["1099511627776 keys"]),
    ("negative number of keys", |f| f.n_keys = Some(U64_MAX), &["-1 keys"]),
    // The tensor table is then read as a key, or a key as a tensor.
    ("a key too many", |f| f.n_keys = Some(f.keys.len() as u64 + 1), &["tensor 0, after the keys"]),
    (
        "a key too few",
        |f| f.n_keys = Some(f.keys.len() as u64 - 1),
        &["tensor llama.attention.layer_norm_rms_epsilon"],
    ),
];

const KEYS: &[Case] = &[
    ("empty key", |f| f.push("", Meta::U8(1)), &["after llama.attention.layer_norm_rms_epsilon, is empty"]),
    ("key that is not UTF-8", |f| f.push([0xff, 0xfe], Meta::U8(1)), &["not UTF-8"]),
    ("key twice", |f| f.push("llama.block_count", Meta::U32(1)), &["key llama.block_count is there twice"]),
    ("type 13", |f| f.push("x.y", Meta::Raw(13, vec![0; 8])), &["key x.y has a value of type 13"]),
    ("type of all ones", |f| f.push("x.y", Meta::Raw(u32::MAX, vec![0; 8])), &["key x.y", "4294967295"]),
    ("bool of 2", |f| f.push("x.y", Meta::Raw(7, vec![2])), &["key x.y", "bool of 2"]),
    (
        "array of arrays",
        |f| f.push("x.y", Meta::Raw(9, array(9, 1, &array(4, 1, &[0; 4])))),
        &["key x.y", "array of arrays"],
    ),
    ("array of unknown type", |f| f.push("x.y", Meta::Raw(9, array(99, 1, &[0; 8]))), &["key x.y", "99"]),
    (
        "array of bools of 3",
        |f| f.push("x.y", Meta::Raw(9, array(7, 2, &[1, 3]))),
        &["key x.y element 1", "bool of 3"],
    ),
    (
        "array longer than the file",
        |f| f.push("x.y", Meta::Raw(9, array(4, 1 << 29, &[]))),
        &["key x.y promises 536870912 elements of u32"],
    ),
    (
        "array above 2^30",
        |f| f.push("x.y", Meta::Raw(9, array(0, (1 << 30) + 1, &[]))),
        &["key x.y promises 1073741825 elements"],
    ),
    (
        "array whose bytes wrap",
        |f| f.push("x.y", Meta::Raw(9, array(10, 1 << 61, &[]))),
        &["key x.y promises 2305843009213693952"],
    ),
    (
        "array of most elements",
        |f| f.push("x.y", Meta::Raw(9, array(8, U64_MAX, &[]))),
        &["key x.y promises 18446744073709551615"],
    ),
    (
        "string longer than the file",
        |f| f.push("x.y", Meta::Raw(8, (1u64 << 29).to_le_bytes().into())),
        &["key x.y needs 536870912 bytes"],
    ),
    (
        "string above 1 GiB",
        |f| f.push("x.y", Meta::Raw(8, U64_MAX.to_le_bytes().into())),
        &["key x.y has a string of 18446744073709551615 bytes"],
    ),
    (
        "string in an array longer than the file",
        |f| f.push("x.y", Meta::Raw(9, array(8, 1, &(1u64 << 20).to_le_bytes()))),
        &["key x.y element 0 needs 1048576 bytes"],
    ),
    ("alignment 0", |f| f.set("general.alignment", Meta::U32(0)), &["key general.alignment is 0"]),
    (
        "alignment 24",
        |f| f.set("general.alignment", Meta::U32(24)),
        &["key general.alignment is 24", "power of two"],
    ),
    (
        "alignment 2^31",
        |f| f.set("general.alignment", Meta::U32(1 << 31)),
        &["key general.alignment is 2147483648"],
    ),
    (
        "alignment as u64",
        |f| f.set("general.alignment", Meta::U64(32)),
        &["key general.alignment is u64, expected u32"],
    ),
    (
        "alignment as string",
        |f| f.set("general.alignment", Meta::Str("32".into())),
        &["key general.alignment is string"],
    ),
    (
        "alignment other than the layout's",
        |f| f.set("general.alignment", Meta::U32(4096)),
        &["tensor blk.0.ffn_norm.weight", "alignment 4096"],
    ),
];

const TENSORS: &[Case] = &[
    ("empty name", |f| f.find("output.weight").name.clear(), &["tensor 11 ()", "name of 0 bytes"]),
    ("name of 64 bytes", |f| f.find("output.weight").name = vec![b'n'; 64], &["name of 64 bytes", "63"]),
    ("name that is not UTF-8", |f| f.find("output.weight").name = vec![0xff], &["name that is not UTF-8"]),
    (
        "name twice",
        |f| f.find("output.weight").name = "token_embd.weight".into(),
        &["tensor token_embd.weight is there twice"],
    ),
    (
        "5 dimensions",
        |f| f.find("output.weight").dims = vec![64, 160, 1, 1, 1],
        &["tensor output.weight has 5 dimensions"],
    ),
    (
        "2^32 - 1 dimensions",
        |f| f.find("output.weight").n_dims = Some(u32::MAX),
        &["tensor output.weight has 4294967295 dimensions"],
    ),
    (
        "negative dimension",
        |f| f.find("output.weight").dims = vec![64, U64_MAX],
        &["tensor output.weight has shape"],
    ),
    (
        "product above 2^63",
        |f| f.find("output.weight").dims = vec![1 << 32, 1 << 32],
        &["tensor output.weight has shape"],
    ),
    (
        "product that wraps to a small one",
        |f| f.find("output.weight").dims = vec![1 << 33, 1 << 31, 64],
        &["tensor output.weight has shape"],
    ),
    (
        "bytes above 2^64",
        |f| f.find("output.weight").dims = vec![1 << 62],
        &["tensor output.weight has shape", "2^64 bytes"],
    ),
    (
        "padding that wraps",
        |f| {
            // 2^64 - 8 bytes of I64, which fit; their padding to 32 does not.
            let t = f.find("output.weight");
            (t.kind, t.dims) = (27, vec![(1 << 61) - 1]);
        },
        &["tensor output.weight has shape"],
    ),
    (
        "sizes that wrap when summed",
        |f| {
            // Three times 2^62 bytes of F32 and as much again.
            for i in 0..4 {
                f.tensor(&format!("big.{i}"), &[1 << 60], 0, vec![]);
                f.tensors.last_mut().into_iter().for_each(|t| t.offset = None);
            }
            let start = f.tensors.iter().map(|t| (t.data.len() as u64).next_multiple_of(32)).sum::<u64>();
            for i in 0..4u64 {
                f.find(&format!("big.{i}")).offset = Some(start.wrapping_add(i << 62));
            }
        },
        &["tensor big."],
    ),
    ("unknown type", |f| f.find("output.weight").kind = 43, &["tensor output.weight has type 43"]),
    (
        "type of all ones",
        |f| f.find("output.weight").kind = u32::MAX,
        &["tensor output.weight has type 4294967295"],
    ),
    (
        "removed type",
        |f| f.find("output.weight").kind = 4,
        &["tensor output.weight has type 4 (Q4_2)", "removed"],
    ),
    (
        "removed repacked type",
        |f| f.find("output.weight").kind = 31,
        &["tensor output.weight has type 31 (Q4_0_4_4)", "removed"],
    ),
    (
        "rows that are no whole blocks",
        |f| {
            let t = f.find("output.weight");
            (t.kind, t.dims) = (12, vec![64, 160]);
        },
        &["tensor output.weight has rows of 64", "256", "Q4_K"],
    ),
    (
        "offset that is not aligned",
        |f| f.find("output.weight").offset = Some(7),
        &["tensor output.weight begins at 7", "alignment 32"],
    ),
    (
        "offset into another tensor",
        |f| f.find("output.weight").offset = Some(0),
        &["tensor output.weight begins at 0", "expected"],
    ),
    (
        "offset past a gap",
        |f| f.find("blk.0.attn_q.weight").offset = Some(1 << 20),
        &["tensor blk.0.attn_q.weight begins at 1048576"],
    ),
    (
        "offset at the end of u64",
        |f| f.find("output.weight").offset = Some(U64_MAX - 31),
        &["tensor output.weight begins at 18446744073709551584"],
    ),
    (
        "data of another length",
        |f| f.find("token_embd.weight").data.truncate(64),
        &["tensor blk.0.attn_q.weight begins at 64 of the data, expected 40960"],
    ),
    (
        "data that end too soon",
        |f| f.find("output.weight").data.truncate(100),
        &["tensor output.weight has 40960 bytes", "past the file's end"],
    ),
    (
        "no data",
        |f| f.find("output.weight").data.clear(),
        &["tensor output.weight has 40960 bytes", "past the file's end"],
    ),
];

#[test]
fn a_header_that_lies_is_refused() {
    each_is_refused(fresh, HEADER);
}

#[test]
fn keys_that_lie_are_refused() {
    each_is_refused(fresh, KEYS);
}

#[test]
fn tensors_that_lie_are_refused() {
    each_is_refused(fresh, TENSORS);
}

#[test]
fn the_file_that_the_cases_break_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    load(&fresh().write(folder.path(), "whole.gguf")).unwrap();
    load(&GgufFile { version: 2, ..fresh() }.write(folder.path(), "whole.gguf")).unwrap();
}

#[test]
fn another_alignment_is_honoured() {
    let folder = tempfile::tempdir().unwrap();
    let mut file = GgufFile { alignment: 4096, ..fresh() };
    file.set("general.alignment", Meta::U32(4096));
    let (opened, _) = load(&file.write(folder.path(), "aligned.gguf")).unwrap();
    assert_eq!(opened.alignment(), 4096);
    let tensor = opened.tensor("blk.0.attn_k.weight").unwrap();
    assert_eq!(opened.data(tensor), file.find("blk.0.attn_k.weight").data);
}

#[test]
fn values_of_every_type_come_back() {
    let values = [
        ("u8", Meta::U8(255), "255"),
        ("i8", Meta::I8(-128), "-128"),
        ("u16", Meta::U16(65535), "65535"),
        ("i16", Meta::I16(-32768), "-32768"),
        ("u32", Meta::U32(u32::MAX), "4294967295"),
        ("i32", Meta::I32(i32::MIN), "-2147483648"),
        ("u64", Meta::U64(U64_MAX), "18446744073709551615"),
        ("i64", Meta::I64(i64::MIN), "-9223372036854775808"),
        ("f32", Meta::F32(1.5), "1.5"),
        ("f64", Meta::F64(-2.25), "-2.25"),
        ("bool", Meta::Bool(true), "true"),
        ("string", Meta::Str("ä\"b".into()), "\"ä\\\"b\""),
        ("array of string", Meta::Strs(vec!["a".into(), String::new()]), "[\"a\", \"\"]"),
        ("array of f32", Meta::F32s(vec![0.5, -1.0]), "[0.5, -1.0]"),
        ("array of u32", Meta::U32s(vec![]), "[]"),
        ("array of i32", Meta::I32s((0..9).collect()), "[0, 1, 2, 3, 4, 5, 6, 7, … (9)]"),
    ];
    let mut file = fresh();
    for (name, value, _) in &values {
        file.set(&format!("test.{name}"), value.clone());
    }
    let folder = tempfile::tempdir().unwrap();
    let opened = Gguf::open(&file.write(folder.path(), "values.gguf")).unwrap();
    for (name, _, shown) in values {
        let value: Value<'_> = opened.metadata().get(&format!("test.{name}")).unwrap();
        assert_eq!((value.type_name().as_str(), value.to_string().as_str()), (name, shown));
    }
    assert_eq!(opened.metadata().iter().len(), file.keys.len());
}

#[test]
fn tensors_of_every_type_are_found_and_read() {
    let mut file = GgufFile::default();
    file.set("general.architecture", Meta::Str("any".into()));
    for (i, kind) in TENSOR_TYPES.iter().enumerate() {
        file.tensor(kind.name, &[kind.weights as u64, 3], kind.id, vec![i as u8; 3 * kind.bytes]);
    }
    // Nothing in them, whatever the other dimensions say.
    file.tensor("no rows", &[32, 0, 1 << 40], 2, vec![]);
    file.tensor("no columns", &[0, 7], 12, vec![]);
    let folder = tempfile::tempdir().unwrap();
    let opened = Gguf::open(&file.write(folder.path(), "types.gguf")).unwrap();
    assert_eq!(opened.tensors().len(), TENSOR_TYPES.len() + 2);
    for (tensor, written) in opened.tensors().iter().zip(&file.tensors) {
        assert_eq!(opened.data(tensor), written.data, "{}", tensor.name);
    }
}

#[test]
fn what_is_no_file_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty.gguf");
    fs::write(&empty, []).unwrap();
    refused(&empty, &["is empty"]).unwrap();
    refused(folder.path(), &["is not a file"]).unwrap();
    refused(&folder.path().join("nowhere.gguf"), &["cannot be read"]).unwrap();
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let file = Llama { layers: 1, head_dim: 4, ffn: 8, vocab: 8, ..Llama::default() }.file();
    let (whole, head) = (file.bytes(), file.head().len());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.gguf");
    let ends = (0..head + 64).step_by(3).chain((head + 64..whole.len()).step_by(97)).chain([whole.len() - 1]);
    for end in ends {
        fs::write(&path, &whole[..end]).unwrap();
        refused(&path, &[]).unwrap_or_else(|e| panic!("cut to {end} of {} bytes: {e}", whole.len()));
    }
}
