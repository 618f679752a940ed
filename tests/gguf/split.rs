//! Models in several files: all parts together are the model, and anything else about them is refused.

use std::path::Path;

use wgllm::gguf::Gguf;

use crate::gguf_file::{GgufFile, Meta};
use crate::tiny_model::Llama;
use crate::{load, refused};

/// A model in three parts, the metadata in the first; a test breaks them before they are written.
fn parts() -> [GgufFile; 3] {
    let whole = Llama::default().file();
    let third = whole.tensors.len().div_ceil(3);
    let count = whole.tensors.len();
    std::array::from_fn(|at| {
        let mut part =
            GgufFile { keys: if at == 0 { whole.keys.clone() } else { vec![] }, ..GgufFile::default() };
        part.tensors = whole.tensors.chunks(third).nth(at).unwrap_or_default().to_vec();
        part.set("split.no", Meta::U16(at as u16));
        part.set("split.count", Meta::U16(3));
        part.set("split.tensors.count", Meta::I32(count as i32));
        part
    })
}

fn write(parts: &[GgufFile], folder: &Path) {
    for (at, part) in parts.iter().enumerate() {
        part.write(folder, &format!("m-{:05}-of-00003.gguf", at + 1));
    }
}

#[test]
fn all_parts_are_one_model() {
    let folder = tempfile::tempdir().unwrap();
    write(&parts(), folder.path());
    let (split, _) = load(&folder.path().join("m-00001-of-00003.gguf")).unwrap();
    let whole = Llama::default().file();
    assert_eq!(split.tensors().len(), whole.tensors.len());
    for written in &whole.tensors {
        let name = std::str::from_utf8(&written.name).unwrap();
        assert_eq!(split.data(split.tensor(name).unwrap()), written.data, "{name}");
    }
    let bytes = parts().iter().map(|p| p.bytes().len() as u64).sum::<u64>();
    assert_eq!(split.file_bytes(), bytes);
}

#[test]
fn parts_that_do_not_fit_together_are_refused() {
    type Break = fn(&mut [GgufFile; 3]);
    let cases: &[(&str, Break, &[&str])] = &[
        ("numbers swapped", |p| p.swap(1, 2), &["part 2", "split.no 2", "expected 1 of 3"]),
        ("a number twice", |p| p[2].set("split.no", Meta::U16(1)), &["part 3", "split.no 1"]),
        ("another count", |p| p[1].set("split.count", Meta::U16(4)), &["part 2", "split.count 4"]),
        ("no number", |p| p[1].unset("split.no"), &["split.no", "missing"]),
        ("no count", |p| p[2].unset("split.count"), &["split.count", "missing"]),
        ("a negative number", |p| p[1].set("split.no", Meta::I32(-1)), &["split.no", "-1"]),
        (
            "fewer tensors than promised",
            |p| p[0].set("split.tensors.count", Meta::I32(99)),
            &["split.tensors.count is 99"],
        ),
        (
            "a tensor in two parts",
            |p| {
                let twice = p[0].tensors[0].clone();
                p[2].tensors.pop();
                p[2].tensors.push(twice);
            },
            &["tensor token_embd.weight is there twice"],
        ),
        ("a damaged part", |p| p[2].magic = *b"FUGG", &["no GGUF file"]),
    ];
    for (name, damage, says) in cases {
        let folder = tempfile::tempdir().unwrap();
        let mut parts = parts();
        damage(&mut parts);
        write(&parts, folder.path());
        // The part that is wrong, or the model by its first part.
        let first = folder.path().join("m-00001-of-00003.gguf");
        let shown = if *name == "a damaged part" {
            folder.path().join("m-00003-of-00003.gguf")
        } else {
            first.clone()
        };
        let text = load(&first).map(drop).expect_err(name).to_string();
        for wanted in says.iter().map(|s| s.to_string()).chain([shown.display().to_string()]) {
            assert!(text.contains(&wanted), "{name}: {text:?} does not say {wanted:?}");
        }
    }
}

#[test]
fn a_missing_part_is_named() {
    let folder = tempfile::tempdir().unwrap();
    write(&parts()[..2], folder.path());
    let text = Gguf::open(&folder.path().join("m-00001-of-00003.gguf")).err().unwrap().to_string();
    assert!(text.contains("m-00003-of-00003.gguf") && text.contains("cannot be read"), "{text}");
}

#[test]
fn only_the_first_part_opens_the_model() {
    let folder = tempfile::tempdir().unwrap();
    write(&parts(), folder.path());
    refused(&folder.path().join("m-00002-of-00003.gguf"), &["*-00001-of-00003.gguf"]).unwrap();
    parts()[0].write(folder.path(), "renamed.gguf");
    refused(&folder.path().join("renamed.gguf"), &["split.count is 3", "*-00001-of-00003.gguf"]).unwrap();
}

#[test]
fn a_count_of_parts_that_are_not_there_costs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = parts()[0].clone();
    first.set("split.count", Meta::U32(u32::MAX));
    first.write(folder.path(), "m-00001-of-4294967295.gguf");
    let text = load(&folder.path().join("m-00001-of-4294967295.gguf")).map(drop).unwrap_err().to_string();
    assert!(text.contains("m-00002-of-4294967295.gguf"), "{text}");
}
