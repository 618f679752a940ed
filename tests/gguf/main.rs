//! Damaged, lying and hostile model files: each is refused with an error that names the file and the key or tensor, and none
//! makes the reader panic or allocate by a number that the file only claims.

#[path = "../common/blocks.rs"]
mod blocks;
mod container;
mod fuzz;
#[path = "../common/gguf_file.rs"]
mod gguf_file;
mod memory;
mod semantics;
mod split;
#[path = "../common/tiny_model.rs"]
mod tiny_model;

use std::path::Path;

use wgllm::error::{Error, Result};
use wgllm::gguf::Gguf;
use wgllm::models::Model;
use wgllm::tokenizer::Tokenizer;

use gguf_file::GgufFile;

/// Everything that is read of a file before any backend sees it.
fn load(path: &Path) -> Result<(Gguf, Model)> {
    Gguf::open(path).and_then(understand)
}

fn understand(file: Gguf) -> Result<(Gguf, Model)> {
    let model = Model::from_gguf(&file, None)?;
    Tokenizer::from_metadata(file.metadata()).map_err(|e| e.in_file(file.name().as_ref()))?;
    Ok((file, model))
}

/// A name, what makes the file wrong, and what the error has to say.
type Case = (&'static str, fn(&mut GgufFile), &'static [&'static str]);

/// Breaks a fresh file by every case, and asserts that each is refused in its own words.
fn each_is_refused(fresh: impl Fn() -> GgufFile, cases: &[Case]) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut wrong = Vec::new();
    for (name, damage, says) in cases {
        let mut file = fresh();
        damage(&mut file);
        let path = file.write(folder.path(), "damaged.gguf");
        wrong.extend(refused(&path, says).err().map(|e| format!("{name}: {e}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Asserts that a file is refused as a bad model, with its path and all of `says` in the text, and without much memory.
fn refused(path: &Path, says: &[&str]) -> Result<(), String> {
    let (size, most) = (std::fs::metadata(path).map_or(0, |m| m.len()), 64 << 20);
    let (outcome, peak) = memory::peak(|| load(path).map(drop));
    if peak > size + most {
        return Err(format!("{peak} bytes were allocated for a file of {size}"));
    }
    match outcome {
        Ok(()) => Err("it was accepted".into()),
        Err(Error::Model(text)) => {
            let path = path.display().to_string();
            let missing: Vec<&str> = std::iter::once(path.as_str())
                .chain(says.iter().copied())
                .filter(|s| !text.contains(s))
                .collect();
            if missing.is_empty() { Ok(()) } else { Err(format!("{text:?} does not say {missing:?}")) }
        }
        Err(other) => Err(format!("{other:?} is not about the model")),
    }
}
