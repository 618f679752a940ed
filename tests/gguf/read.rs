//! What is read is what was written.

use libtest_mimic::Trial;
use wgllm::gguf::{Gguf, Value};

use super::gguf_file::{GgufFile, Meta};
use super::{Outcome, Test, ensure, read_all};

pub fn trials() -> Vec<Trial> {
    let tests: [Test; 10] = [
        ("versions_2_and_3_are_read", versions),
        ("every_value_type_is_read_and_shown", values),
        ("keys_and_tensors_keep_the_order_of_the_file", order),
        ("data_are_the_tensors_own_bytes_at_any_alignment", alignments),
        ("tensors_without_elements_or_dimensions_are_read", empty_tensors),
        ("the_last_tensor_needs_no_padding", unpadded),
        ("typed_access_takes_what_fits_and_names_what_does_not", typed),
        ("a_missing_key_is_named", missing),
        ("tokens_need_not_be_utf8", tokens),
        ("what_cannot_change_the_result_stops_nothing", odd),
    ];
    tests.into_iter().map(|(name, test)| Trial::test(format!("read::{name}"), test)).collect()
}

fn open(file: &GgufFile) -> wgllm::Result<Gguf> {
    Gguf::from_static("small.gguf", file.leak())
}

fn versions() -> Outcome {
    for version in [2, 3] {
        let file = GgufFile { version, ..GgufFile::new() }.with("a", 1u32).f32s("t", &[2], &[1.0, 2.0]);
        let file = open(&file)?;
        ensure(file.version() == version, || format!("version {}, expected {version}", file.version()))?;
        ensure(file.name() == "small.gguf" && file.alignment() == 32, || file.name().into())?;
        read_all(&file);
    }
    Ok(())
}

fn values() -> Outcome {
    let long = "é".repeat(65);
    let many: Vec<i32> = (0..150_000).collect();
    let bytes = |count: usize| Meta::Str(vec![b'x'; count]);
    let cases: Vec<(Meta, &str, String)> = vec![
        (Meta::U8(255), "u8", "255".into()),
        (Meta::I8(-128), "i8", "-128".into()),
        (Meta::U16(65_535), "u16", "65535".into()),
        (Meta::I16(-32_768), "i16", "-32768".into()),
        (Meta::U32(u32::MAX), "u32", "4294967295".into()),
        (Meta::I32(i32::MIN), "i32", "-2147483648".into()),
        (Meta::F32(1e-5), "f32", "1e-5".into()),
        (Meta::Bool(true), "bool", "true".into()),
        (Meta::U64(u64::MAX), "u64", "18446744073709551615".into()),
        (Meta::I64(i64::MIN), "i64", "-9223372036854775808".into()),
        (Meta::F64(0.1), "f64", "0.1".into()),
        ("a \"b\"\n".into(), "string", r#""a \"b\"\n""#.into()),
        (bytes(64), "string", format!("{:?}", "x".repeat(64))),
        (bytes(65), "string", format!("{:?}… (65 bytes)", "x".repeat(64))),
        (long.as_str().into(), "string", format!("{:?}… (130 bytes)", "é".repeat(64))),
        (Meta::Str(vec![0xff, b'a']), "string", "\"\u{fffd}a\"".into()),
        (Meta::Array(7, vec![Meta::Bool(true), Meta::Bool(false)]), "array of bool", "[true, false]".into()),
        (Meta::Array(8, vec!["<s>".into()]), "array of string", "[\"<s>\"]".into()),
        (Meta::Array(4, vec![]), "array of u32", "[]".into()),
        (many[..8].into(), "array of i32", "[0, 1, 2, 3, 4, 5, 6, 7]".into()),
        (many[..].into(), "array of i32", "[0, 1, 2, 3, 4, 5, 6, 7, … (150000)]".into()),
    ];
    for (meta, kind, shown) in cases {
        let file = open(&GgufFile::new().with("k", meta))?;
        let value = file.metadata().get("k").ok_or("no key")?;
        ensure(value.type_name() == kind, || format!("{} is not {kind}", value.type_name()))?;
        ensure(value.to_string() == shown, || format!("{value} is not {shown}"))?;
        read_all(&file);
    }
    Ok(())
}

fn order() -> Outcome {
    let names = ["zeta", "alpha", "mid"];
    let mut file = GgufFile::new();
    for (i, name) in names.iter().enumerate() {
        file = file.with(name, i as u32).f32s(name, &[1], &[i as f32]);
    }
    let file = open(&file)?;
    let keys: Vec<&str> = file.metadata().iter().map(|(key, _)| key).collect();
    let tensors: Vec<&str> = file.tensors().iter().map(|t| t.name.as_str()).collect();
    ensure(keys == names && tensors == names, || format!("{keys:?}, {tensors:?}"))?;
    for (i, name) in names.iter().enumerate() {
        let found = (file.metadata().u32(name)?, file.tensor(name).map(|t| file.data(t).to_vec()));
        let expected = (Some(i as u32), Some((i as f32).to_le_bytes().to_vec()));
        ensure(found == expected, || format!("{name}: {found:?}"))?;
    }
    ensure(file.metadata().get("none").is_none() && file.tensor("none").is_none(), || "none is there".into())
}

fn alignments() -> Outcome {
    for alignment in [1, 2, 32, 64, 4096, 1 << 20] {
        let q8: Vec<u8> = (0..34 * 3).collect();
        let file = GgufFile::new()
            .with_alignment(alignment)
            .tensor("a", &[32, 3], 8, q8.clone())
            .f32s("b", &[3], &[1.0, 2.0, 3.0])
            .tensor("c", &[1], 24, vec![7]);
        let file = open(&file)?;
        ensure(file.alignment() == u64::from(alignment), || {
            format!("{} is not {alignment}", file.alignment())
        })?;
        let data: Vec<&[u8]> = file.tensors().iter().map(|t| file.data(t)).collect();
        ensure(data == [&q8[..], bytemuck::cast_slice(&[1.0f32, 2.0, 3.0]), &[7]], || format!("{data:?}"))?;
        let a = &file.tensors()[0];
        ensure((a.kind.name, a.bytes, a.elements(), &a.dims[..]) == ("Q8_0", 102, 96, &[32, 3]), || {
            format!("{a:?}")
        })?;
    }
    Ok(())
}

fn empty_tensors() -> Outcome {
    let file = GgufFile::new()
        .f32s("scalar", &[], &[5.0])
        .f32s("no_rows", &[4, 0], &[])
        .f32s("no_columns", &[0, 4, 0, 2], &[])
        .tensor("no_blocks", &[0], 12, vec![])
        .f32s("last", &[1], &[6.0])
        .f32s("behind", &[0], &[]);
    let mut bytes = file.bytes();
    bytes.truncate(bytes.len() - 28); // the padding behind `last`: `behind` is then past the file's end
    let file = Gguf::from_static("small.gguf", bytes.leak())?;
    let lengths: Vec<usize> = file.tensors().iter().map(|t| file.data(t).len()).collect();
    ensure(lengths == [4, 0, 0, 0, 4, 0], || format!("{lengths:?}"))?;
    let scalar = file.data(&file.tensors()[0]);
    ensure(scalar == 5f32.to_le_bytes(), || format!("{scalar:?}"))
}

fn unpadded() -> Outcome {
    let mut bytes = GgufFile::new().f32s("t", &[3], &[1.0; 3]).bytes();
    bytes.truncate(bytes.len() - 20);
    let file = Gguf::from_static("small.gguf", bytes.leak())?;
    ensure(read_all(&file) == 12, || "other than 12 bytes".into())
}

fn typed() -> Outcome {
    let file = GgufFile::new()
        .with("u8", Meta::U8(3))
        .with("i64", Meta::I64(4))
        .with("negative", Meta::I32(-1))
        .with("wide", Meta::U64(1 << 32))
        .with("half", 0.5f32)
        .with("double", Meta::F64(0.25))
        .with("huge", Meta::F64(1e300))
        .with("endless", Meta::F64(f64::INFINITY))
        .with("text", "yes")
        .with("latin", Meta::Str(vec![0xe9]))
        .with("flag", true)
        .with("texts", ["a", "b"].as_slice())
        .with("ints", [1, -2].as_slice())
        .with("floats", [1.5f32, 2.5].as_slice());
    let file = open(&file)?;
    let m = file.metadata();
    ensure(m.u32("u8")? == Some(3) && m.u32("i64")? == Some(4), || "integers".into())?;
    ensure(m.f32("half")? == Some(0.5) && m.f32("double")? == Some(0.25), || "floats".into())?;
    ensure(m.f32("endless")? == Some(f32::INFINITY), || "infinity".into())?;
    ensure(m.str("text")? == Some("yes") && m.bool("flag")? == Some(true), || "text, flag".into())?;
    ensure(m.i32s("ints")? == Some(vec![1, -2]), || "ints".into())?;
    ensure(m.f32s("floats")? == Some(vec![1.5, 2.5]), || "floats".into())?;
    let texts = m.strings("texts")?.ok_or("no texts")?;
    ensure(texts.len() == 2 && texts.eq([b"a", b"b"]), || "texts".into())?;

    let refused: [(&str, &str, wgllm::Error); 14] = [
        ("negative", "i32 (-1)", m.u32("negative").unwrap_err()),
        ("wide", "u64 (4294967296)", m.u32("wide").unwrap_err()),
        ("half", "f32 (0.5)", m.u32("half").unwrap_err()),
        ("flag", "bool (true)", m.u32("flag").unwrap_err()),
        ("u8", "u8 (3)", m.f32("u8").unwrap_err()),
        ("huge", "f64 (1e300)", m.f32("huge").unwrap_err()),
        ("flag", "bool (true)", m.str("flag").unwrap_err()),
        ("latin", "UTF-8", m.str("latin").unwrap_err()),
        ("u8", "expected a bool", m.bool("u8").unwrap_err()),
        ("text", "expected an array of strings", m.strings("text").unwrap_err()),
        ("ints", "array of i32", m.strings("ints").unwrap_err()),
        ("ints", "expected an array of u32", m.u32s("ints").unwrap_err()),
        ("ints", "expected an array of f32", m.f32s("ints").unwrap_err()),
        ("floats", "array of f32", m.i32s("floats").unwrap_err()),
    ];
    for (key, word, error) in refused {
        let text = error.to_string();
        let named = text.contains(&format!("key {key} ")) && text.contains(word) && text.contains("expected");
        ensure(named && error.exit_code() == 3, || format!("no {key}, {word}: {text}"))?;
    }
    Ok(())
}

fn missing() -> Outcome {
    let file = open(&GgufFile::new())?;
    let m = file.metadata();
    let absent = m.str("k")?.is_none() && m.u32("k")?.is_none() && m.strings("k")?.is_none();
    ensure(absent, || "k is there".into())?;
    for error in [m.need_str("k").unwrap_err(), m.need_u32("k").unwrap_err(), m.need_f32("k").unwrap_err()] {
        ensure(error.to_string() == "key k is missing" && error.exit_code() == 3, || error.to_string())?;
    }
    Ok(())
}

fn tokens() -> Outcome {
    let tokens = Meta::Array(8, vec![Meta::Str(vec![0xff, 0xfe]), "".into(), Meta::Str(vec![0])]);
    let file = open(&GgufFile::new().with("tokens", tokens))?;
    let found: Vec<&[u8]> = file.metadata().strings("tokens")?.ok_or("no tokens")?.collect();
    ensure(found == [&[0xff, 0xfe][..], &[], &[0]], || format!("{found:?}"))?;
    let Some(Value::Array(array)) = file.metadata().get("tokens") else { return Err("no array".into()) };
    let as_text: Vec<Option<&str>> = array.iter().map(|token| token.str()).collect();
    ensure(as_text == [None, Some(""), Some("\0")], || format!("{as_text:?}"))
}

/// Keys that no result depends on, of any type and in any encoding, in a model of one file.
fn odd() -> Outcome {
    let odd = [
        Meta::Str(b"Mod\xe8le".to_vec()),
        Meta::I32(-3),
        Meta::F64(f64::NAN),
        Meta::Bool(true),
        Meta::Array(8, vec![Meta::Str(vec![0xff])]),
    ];
    for key in ["general.name", "general.type", "split.no", "split.tensors.count", "general.file_type", "any"]
    {
        for value in &odd {
            let file = GgufFile::new().with(key, value.clone()).f32s("a", &[1], &[1.0]);
            read_all(&open(&file).map_err(|e| format!("{key} {value:?}: {e}"))?);
        }
    }
    let mut file = GgufFile::new().with("a", 1u32);
    file.metadata.push((b"cl\xe9".to_vec(), 2u32.into()));
    let file = open(&file)?;
    let keys: Vec<&str> = file.metadata().iter().map(|(key, _)| key).collect();
    ensure(keys == ["a", r"cl\xe9"], || format!("{keys:?}"))
}
