//! What is wrong in one place is refused by the name of that place. The cases of the container follow llama.cpp's
//! `tests/test-gguf.cpp`; the others are what other readers have stumbled over.

use std::path::Path;

use libtest_mimic::Trial;
use wgllm::gguf::Gguf;

use super::gguf_file::{GgufFile, Meta, TensorInfo};
use super::{Outcome, refuses};

/// What is wrong, the file, and the words that the refusal must hold.
type Case = (&'static str, Vec<u8>, &'static [&'static str]);

const F32: u32 = 0;
const F16: u32 = 1;
const Q4_0: u32 = 2;
const Q4_K: u32 = 12;
const I8: u32 = 24;
const F64: u32 = 28;

pub fn trials() -> Vec<Trial> {
    let cases = [header(), keys(), tensors(), data(), kinds()].into_iter().flatten();
    let mut trials: Vec<Trial> = cases
        .map(|(name, bytes, words)| {
            let refused = move || refuses(Gguf::from_static("bad.gguf", bytes.leak()), "bad.gguf: ", words);
            Trial::test(format!("refused::{name}"), refused)
        })
        .collect();
    trials.push(Trial::test("refused::every truncation of a file", truncations));
    trials.push(Trial::test("refused::paths that are no model file", paths));
    trials
}

fn header() -> Vec<Case> {
    let version = |version| GgufFile { version, ..GgufFile::new() }.bytes();
    let tensors = |n| GgufFile { promised_tensors: Some(n), ..GgufFile::new() }.bytes();
    let keys = |n| GgufFile { promised_keys: Some(n), ..GgufFile::new() }.bytes();
    let mut magic = GgufFile::new().bytes();
    magic[..4].copy_from_slice(b"GGML");
    vec![
        ("magic", magic, &["GGML", "GGUF"]),
        ("no bytes", vec![], &["GGUF"]),
        (
            "a pointer of Git LFS",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n".to_vec(),
            &["a pointer of Git LFS", "`git lfs pull`"],
        ),
        ("a web page", b"\n<!DOCTYPE html><html>".to_vec(), &["a web page", "download"]),
        ("version 0", version(0), &["version 0"]),
        ("version 1", version(1), &["version 1"]),
        ("version 4", version(4), &["version 4", "known are 2 and 3"]),
        ("big-endian version", version(3 << 24), &["endian"]),
        ("-1 tensors", tensors(u64::MAX), &["-1 tensors"]),
        ("2^63-1 tensors", tensors(i64::MAX as u64), &["9223372036854775807 tensors"]),
        ("one tensor in no bytes", tensors(1), &["1 tensors"]),
        ("-1 keys", keys(u64::MAX), &["-1 keys"]),
        ("2^63-1 keys", keys(i64::MAX as u64), &["9223372036854775807 keys"]),
        ("one key in no bytes", keys(1), &["1 keys"]),
    ]
}

fn keys() -> Vec<Case> {
    // Without padding, behind which a value that is cut off would find some bytes.
    let unpadded = GgufFile { alignment: 1, ..GgufFile::new() };
    let one = |value: Meta| unpadded.clone().with("first", 1u32).with("the.key", value).bytes();
    let raw = |kind: u32, parts: &[&[u8]]| one(Meta::Raw(kind, parts.concat()));
    let named = |key: &[u8]| {
        let mut file = GgufFile::new().with("first", 1u32);
        file.metadata.push((key.to_vec(), 2u32.into()));
        file.bytes()
    };
    let align = |value: Meta| GgufFile::new().with("general.alignment", value).bytes();
    let (string, array) = (8u32.to_le_bytes(), 9u32.to_le_bytes());
    let count = |n: u64| n.to_le_bytes();
    let too_long = Box::leak(vec![b'k'; 1 << 16].into_boxed_slice());
    vec![
        ("empty key", named(b""), &["key 1", "after first"]),
        ("key of 64 KiB", named(too_long), &["key 1", "after first", "65536 bytes"]),
        ("key of 2^64-1 bytes", stretched(named(b"second"), b"second"), &["key 1", "after first"]),
        (
            "key twice",
            GgufFile::new().with("a", 1u32).with("b", 1u32).with("a", 2u32).bytes(),
            &["key a", "twice"],
        ),
        (
            "control characters in a key",
            GgufFile::new().with("a\x1b[2J", 1u32).with("a\x1b[2J", 1u32).bytes(),
            &["key a\\u{1b}[2J"],
        ),
        ("value of type 13", raw(13, &[&[0; 16]]), &["key the.key", "type 13"]),
        ("value of type 2^32-1", raw(u32::MAX, &[&[0; 16]]), &["key the.key", "type 4294967295"]),
        ("value cut off", raw(10, &[&[0; 3]]), &["key the.key"]),
        ("bool of 2", raw(7, &[&[2]]), &["key the.key", "bool of 2"]),
        ("string of 2^64-1 bytes", raw(8, &[&count(u64::MAX)]), &["key the.key", "18446744073709551615"]),
        ("string longer than the file", raw(8, &[&count(100)]), &["key the.key", "100 bytes"]),
        ("array of type 13", raw(9, &[&13u32.to_le_bytes(), &count(0)]), &["key the.key", "type 13"]),
        (
            "array of arrays",
            raw(9, &[&array, &count(1), &string, &count(0)]),
            &["key the.key", "array of arrays"],
        ),
        ("empty array of arrays", raw(9, &[&array, &count(0)]), &["key the.key", "array of arrays"]),
        (
            "array of 2^64-1 strings",
            raw(9, &[&string, &count(u64::MAX)]),
            &["key the.key", "18446744073709551615"],
        ),
        (
            "array whose bytes wrap",
            raw(9, &[&10u32.to_le_bytes(), &count(1 << 61)]),
            &["key the.key", "2305843009213693952"],
        ),
        ("array longer than the file", raw(9, &[&[0; 4], &count(1000)]), &["key the.key", "1000 elements"]),
        (
            "string in an array too long",
            raw(9, &[&string, &count(2), &count(0), &count(9)]),
            &["key the.key", "element 1"],
        ),
        (
            "bool in an array",
            raw(9, &[&7u32.to_le_bytes(), &count(2), &[1, 3]]),
            &["key the.key", "element 1", "bool of 3"],
        ),
        ("alignment 0", align(0u32.into()), &["general.alignment", "0"]),
        ("alignment 3", align(3u32.into()), &["general.alignment", "3"]),
        ("alignment 2^21", align((1u32 << 21).into()), &["general.alignment", "2097152"]),
        ("alignment as u64", align(Meta::U64(32)), &["general.alignment", "u64"]),
        ("alignment as i32", align(Meta::I32(32)), &["general.alignment", "i32"]),
        ("alignment as string", align("32".into()), &["general.alignment", "string"]),
    ]
}

fn tensors() -> Vec<Case> {
    let file = |change: fn(&mut TensorInfo)| {
        let mut file = GgufFile::new().f32s("first", &[1], &[0.0]).tensor("t", &[32], F32, vec![0; 128]);
        change(&mut file.tensors[1]);
        file.bytes()
    };
    let twice = GgufFile::new().f32s("a", &[8], &[0.0; 8]).f32s("a", &[8], &[0.0; 8]).bytes();
    let stretched = stretched(GgufFile::new().f32s("long", &[1], &[0.0]).bytes(), b"long");
    let many = GgufFile {
        promised_tensors: Some((1 << 16) + 1),
        metadata: vec![(b"room".into(), Meta::Str(vec![0; 3 << 20]))],
        ..GgufFile::new()
    };
    let mut many = many.bytes();
    many.resize(6 << 20, 0);
    vec![
        ("name of 64 bytes", file(|t| t.name = vec![b'n'; 64]), &["tensor 1", "after first", "64 bytes"]),
        ("empty name", file(|t| t.name.clear()), &["tensor 1", "after first", "0 bytes"]),
        ("name that is not UTF-8", file(|t| t.name = vec![0xff]), &["tensor 1", "after first", "UTF-8"]),
        ("name of 2^64-1 bytes", stretched, &["tensor 0"]),
        ("name twice", twice, &["tensor a", "twice"]),
        ("65537 tensors", many, &["65537 tensors"]),
        ("5 dimensions", file(|t| t.dims = vec![1; 5]), &["tensor t", "5 dimensions"]),
        ("2^32-1 dimensions", file(|t| t.promised_dims = Some(u32::MAX)), &["tensor t", "4294967295"]),
        ("dimension of -1", file(|t| t.dims = vec![u64::MAX]), &["tensor t", "18446744073709551615"]),
        ("2^64 weights", file(|t| t.dims = vec![1 << 32, 1 << 32]), &["tensor t", "4294967296"]),
        ("2^128 weights", file(|t| t.dims = vec![1 << 32; 4]), &["tensor t", "4294967296"]),
        ("2^65 bytes", file(|t| (t.kind, t.dims) = (F64, vec![1 << 62])), &["tensor t", "F64", "bytes"]),
        (
            "bytes that wrap by padding",
            file(|t| (t.kind, t.dims) = (F16, vec![i64::MAX as u64])),
            &["tensor t", "F16"],
        ),
        ("type 43", file(|t| t.kind = 43), &["tensor t", "type 43", "not known"]),
        ("type 2^32-1", file(|t| t.kind = u32::MAX), &["tensor t", "type 4294967295"]),
        ("removed type 4", file(|t| t.kind = 4), &["tensor t", "Q4_2", "removed"]),
        ("removed type 31", file(|t| t.kind = 31), &["tensor t", "Q4_0_4_4", "removed", "Q4_0"]),
        ("removed type 38", file(|t| t.kind = 38), &["tensor t", "IQ4_NL_8_8", "removed", "IQ4_NL"]),
        (
            "rows of 33 in Q4_0",
            file(|t| (t.kind, t.dims) = (Q4_0, vec![33])),
            &["tensor t", "33", "32", "Q4_0"],
        ),
        (
            "rows of 32 in Q4_K",
            file(|t| (t.kind, t.dims) = (Q4_K, vec![32, 8])),
            &["tensor t", "256", "Q4_K"],
        ),
        ("no dimensions in Q4_0", file(|t| (t.kind, t.dims) = (Q4_0, vec![])), &["tensor t", "Q4_0"]),
        ("offset off the alignment", file(|t| t.offset = Some(33)), &["tensor t", "33", "alignment 32"]),
        (
            "offset of another tensor",
            file(|t| t.offset = Some(0)),
            &["tensor t", "begins at 0", "expected 32"],
        ),
        ("offset behind a gap", file(|t| t.offset = Some(64)), &["tensor t", "begins at 64", "expected 32"]),
        ("offset of 2^64-32", file(|t| t.offset = Some(u64::MAX - 31)), &["tensor t", "begins at"]),
    ]
}

fn data() -> Vec<Case> {
    let mut short = GgufFile::new().f32s("a", &[8], &[0.0; 8]).f32s("b", &[8], &[0.0; 8]).bytes();
    short.truncate(short.len() - 1);
    let mut far = GgufFile::new();
    for (at, name) in ["a", "b", "c"].into_iter().enumerate() {
        let size = (1 << 63) - 64;
        let (name, dims, offset) = (name.into(), vec![size], Some((at as u64).wrapping_mul(size)));
        far = far.info(TensorInfo { name, dims, promised_dims: None, kind: I8, offset, data: vec![] });
    }
    let mut two = far.clone();
    two.tensors.truncate(2);
    let mut padded_otherwise = GgufFile::new().with("general.alignment", 64u32);
    padded_otherwise = padded_otherwise.f32s("a", &[1], &[0.0]).f32s("b", &[1], &[0.0]);
    let larger = GgufFile::new().tensor("a", &[4096, 4096], Q4_0, vec![0; 1 << 10]).bytes();
    vec![
        ("a byte of data is missing", short, &["tensor b", "past the file's end"]),
        ("tensor larger than its data", larger, &["tensor a", "9437184 bytes"]),
        ("sizes whose sum wraps", far.bytes(), &["tensor c", "2^64"]),
        ("sizes far past the end", two.bytes(), &["tensor a", "past the file's end"]),
        (
            "data aligned otherwise than the key says",
            padded_otherwise.bytes(),
            &["tensor b", "32", "alignment 64"],
        ),
    ]
}

fn kinds() -> Vec<Case> {
    let kind = |value: Meta| GgufFile::new().with("general.type", value).bytes();
    vec![
        ("an adapter", kind("adapter".into()), &["general.type", "adapter"]),
        ("a projector", kind("mmproj".into()), &["general.type", "mmproj"]),
        ("an importance matrix", kind("imatrix".into()), &["general.type", "imatrix"]),
    ]
}

/// The file, but the string `text` in it says that it has 2^64-1 bytes.
fn stretched(mut bytes: Vec<u8>, text: &[u8]) -> Vec<u8> {
    let at = bytes.windows(text.len()).position(|window| window == text).unwrap();
    bytes[at - 8..at].fill(0xff);
    bytes
}

fn truncations() -> Outcome {
    let file = GgufFile::new()
        .with("number", 1u32)
        .with("text", "abc")
        .with("texts", ["a", "b"].as_slice())
        .f32s("a", &[8], &[0.0; 8])
        .f32s("b", &[8], &[0.0; 8]);
    let bytes: &'static [u8] = file.leak();
    for length in 0..bytes.len() {
        refuses(Gguf::from_static("cut.gguf", &bytes[..length]), "cut.gguf: ", &[])
            .map_err(|e| format!("{length} bytes: {}", e.message().unwrap_or_default()))?;
    }
    Ok(())
}

fn paths() -> Outcome {
    let folder = tempfile::tempdir()?;
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).map(|()| path)
    };
    refuses(Gguf::open(&folder.path().join("none.gguf")), "none.gguf: ", &["cannot be read", "os error"])?;
    refuses(Gguf::open(folder.path()), &folder.path().display().to_string(), &["folder"])?;
    refuses(Gguf::open(&file("empty.gguf", b"")?), "empty.gguf: ", &["empty"])?;
    refuses(Gguf::open(&file("short.gguf", b"GGU")?), "short.gguf: ", &["GGUF"])?;
    refuses(Gguf::open(&file("head.gguf", &GgufFile::new().bytes()[..23])?), "head.gguf: ", &["header"])?;
    refuses(Gguf::open(&file("page.html", b"<!DOCTYPE html>")?), "page.html: ", &["GGUF", "a web page"])?;
    #[cfg(unix)]
    refuses(Gguf::open(Path::new("/dev/null")), "/dev/null: ", &["device"])?;
    Ok(())
}
