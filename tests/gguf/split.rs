//! Models in several files.

use std::path::{Path, PathBuf};

use libtest_mimic::Trial;
use tempfile::TempDir;
use wgllm::gguf::Gguf;

use super::gguf_file::{GgufFile, Meta};
use super::{Outcome, ensure, read_all, refuses};

/// A change to the three parts, the file that is opened, and the words that the refusal must hold.
type Case = (&'static str, fn(&mut [GgufFile; 3]), &'static str, &'static [&'static str]);

const FIRST: &str = "m-00001-of-00003.gguf";
const SECOND: &str = "m-00002-of-00003.gguf";

const REFUSED: &[Case] = &[
    ("the second part is opened", |_| {}, SECOND, &["split.count", "first part", "-00001-of-00003.gguf"]),
    ("the first part has another name", |_| {}, "renamed.gguf", &["split.count", "-00001-of-00003.gguf"]),
    (
        "a part has another number",
        |p| set(&mut p[1], "split.no", Meta::U16(2)),
        FIRST,
        &[SECOND, "split.no is 2, expected 1"],
    ),
    ("a part has no number", |p| p[1].metadata.clear(), FIRST, &[SECOND, "split.no is missing"]),
    (
        "a part's number is a string",
        |p| set(&mut p[1], "split.no", "1".into()),
        FIRST,
        &[SECOND, "split.no is string"],
    ),
    (
        "a part counts otherwise",
        |p| set(&mut p[1], "split.count", Meta::U16(4)),
        FIRST,
        &[SECOND, "split.count is 4"],
    ),
    (
        "the count is too high",
        |p| set(&mut p[0], "split.count", Meta::U16(4)),
        FIRST,
        &["split.count is 4", "of-00004"],
    ),
    (
        "the count is negative",
        |p| set(&mut p[0], "split.count", Meta::I32(-3)),
        FIRST,
        &["split.count is i32 (-3)"],
    ),
    ("a tensor is missing", |p| p[2].tensors.clear(), FIRST, &["split.tensors.count is 4", "have 3"]),
    (
        "a tensor is in two parts",
        |p| p[2].tensors = p[1].tensors[..1].to_vec(),
        FIRST,
        &["-00003-of-00003", "tensor b", "twice", SECOND],
    ),
    ("a part is damaged", |p| p[1].tensors[0].kind = 99, FIRST, &[SECOND, "tensor b", "99"]),
    ("a part's version is unknown", |p| p[2].version = 9, FIRST, &["m-00003-of-00003.gguf", "version 9"]),
];

pub fn trials() -> Vec<Trial> {
    let mut trials: Vec<Trial> = REFUSED
        .iter()
        .map(|&(name, change, open, words)| {
            Trial::test(format!("split::refused when {name}"), move || {
                let mut parts = parts();
                change(&mut parts);
                let (_folder, path) = written(&parts)?;
                std::fs::copy(path.with_file_name(FIRST), path.with_file_name("renamed.gguf"))?;
                refuses(Gguf::open(&path.with_file_name(open)), ".gguf: ", words)
            })
        })
        .collect();
    trials.push(Trial::test("split::three_parts_are_one_model", reads));
    trials.push(Trial::test("split::a_missing_part_is_named", names_a_missing_part));
    // Other systems' file names are Unicode.
    let utf8 = cfg!(not(target_os = "linux"));
    let named = Trial::test("split::a_name_need_not_be_utf8", names_need_not_be_utf8);
    trials.push(named.with_ignored_flag(utf8));
    trials.push(Trial::test("split::a_split_of_one_file_is_read", one));
    trials.push(Trial::test("split::a_carried_model_is_whole", carried));
    trials
}

fn parts() -> [GgufFile; 3] {
    let part = |no: u16| {
        GgufFile::new()
            .with("split.no", Meta::U16(no))
            .with("split.count", Meta::U16(3))
            .with("split.tensors.count", Meta::I32(4))
    };
    [
        part(0).with("general.architecture", "llama").f32s("a", &[1], &[1.0]),
        part(1).f32s("b", &[1], &[2.0]).f32s("c", &[1], &[3.0]),
        part(2).with_alignment(128).f32s("d", &[1], &[4.0]),
    ]
}

fn set(file: &mut GgufFile, key: &str, value: Meta) {
    for (found, old) in &mut file.metadata {
        if found == key.as_bytes() {
            *old = value.clone();
        }
    }
}

fn written(parts: &[GgufFile]) -> std::io::Result<(TempDir, PathBuf)> {
    let folder = tempfile::tempdir()?;
    for (at, part) in parts.iter().enumerate() {
        part.write(&folder.path().join(format!("m-{:05}-of-00003.gguf", at + 1)))?;
    }
    let first = folder.path().join(FIRST);
    Ok((folder, first))
}

fn reads() -> Outcome {
    let (_folder, path) = written(&parts())?;
    let file = Gguf::open(&path)?;
    ensure(Path::new(file.name()) == path, || file.name().into())?;
    let names: String = file.tensors().iter().map(|t| t.name.as_str()).collect();
    let values: Vec<u8> = file.tensors().iter().flat_map(|t| file.data(t).to_vec()).collect();
    ensure(names == "abcd", || names.clone())?;
    ensure(values == bytemuck::cast_slice::<f32, u8>(&[1.0, 2.0, 3.0, 4.0]), || format!("{values:?}"))?;
    let bytes: usize = parts().iter().map(|part| part.bytes().len()).sum();
    ensure(file.file_bytes() == bytes as u64, || format!("{} of {bytes} bytes", file.file_bytes()))?;
    ensure(file.metadata().need_str("general.architecture")? == "llama", || "another architecture".into())?;
    read_all(&file);
    Ok(())
}

#[cfg(target_os = "linux")]
fn names_need_not_be_utf8() -> Outcome {
    use std::os::unix::ffi::OsStrExt;
    let folder = tempfile::tempdir()?;
    let path = |number: usize| {
        let name = [b"m\xe8".as_slice(), format!("-{number:05}-of-00003.gguf").as_bytes()].concat();
        folder.path().join(std::ffi::OsStr::from_bytes(&name))
    };
    for (at, part) in parts().iter().enumerate() {
        part.write(&path(at + 1))?;
    }
    let file = Gguf::open(&path(1))?;
    ensure(file.tensors().len() == 4, || format!("{} tensors", file.tensors().len()))
}

#[cfg(not(target_os = "linux"))]
fn names_need_not_be_utf8() -> Outcome {
    Ok(())
}

fn names_a_missing_part() -> Outcome {
    let (_folder, path) = written(&parts())?;
    std::fs::remove_file(path.with_file_name(SECOND))?;
    refuses(Gguf::open(&path), SECOND, &["cannot be read", "part 2 of 3"])
}

fn one() -> Outcome {
    let file = GgufFile::new().with("split.no", Meta::U16(0)).with("split.count", Meta::U16(1));
    let file = file.with("split.tensors.count", Meta::I32(1)).f32s("a", &[1], &[1.0]);
    read_all(&Gguf::from_static("any name", file.leak())?);
    Ok(())
}

fn carried() -> Outcome {
    refuses(
        Gguf::from_static("carried.gguf", parts()[0].leak()),
        "carried.gguf",
        &["split.count is 3, expected 1"],
    )
}
