//! The golden models, node by node.

use std::path::{Path, PathBuf};

use libtest_mimic::Trial;
use wgllm::backend::Precision;
use wgllm::engine::Options;
use wgllm::gguf::Gguf;
use wgllm::gpu::Masks;

use crate::adapters::Target;
use crate::fixtures::{KINDS, demo, entries, files, fixtures, unknown};
use crate::{agrees, masks, run};

pub fn trials(target: &Target) -> Vec<Trial> {
    let mut found: Vec<PathBuf> = Vec::new();
    for folder in entries(&fixtures().join("models")).iter().chain(&entries(&fixtures().join("real"))) {
        found.extend(files(folder, "gguf"));
    }
    found.extend(files(&demo(), "gguf"));
    // A second file has the same layers in F16; formats are those of models made in memory.
    found.retain(|path| path.file_name().is_some_and(|name| name != "model-f16.gguf"));
    found.iter().flat_map(|path| of_file(target, path)).collect()
}

/// A trial of a file, and one under each mask. Of these each run makes one for each kind of layer, by its place; with `--include-ignored` all models meet all of
/// them. Formats meet masks in models made in memory.
fn of_file(target: &Target, path: &Path) -> Vec<Trial> {
    let folder = path.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned();
    let name = format!("{folder}/{}", path.file_name().unwrap_or_default().to_string_lossy());
    if let Some(reason) = unknown(path) {
        return vec![Trial::test(format!("{name} ({reason})"), || Ok(())).with_ignored_flag(true)];
    }
    let kind = KINDS.iter().position(|kind| folder == *kind);
    let masks = masks();
    let others = masks.len() - 1;
    let trial = |(n, (mask, masks)): (usize, (&'static str, Masks))| {
        let label = match n {
            0 => format!("{name} on {}", target.label),
            _ => format!("{name} with {mask} on {}", target.label),
        };
        let (path, target) = (path.to_owned(), target.clone());
        let test = move || {
            let options = Options { masks, ..target.options(Precision::Fast) };
            agrees(&run(Gguf::open(&path)?, &options, 500, ROWS)?)
        };
        let left_out = n > 0 && kind.is_none_or(|kind| kind % others != n - 1);
        Trial::test(label, test).with_ignored_flag(left_out)
    };
    masks.into_iter().enumerate().map(trial).collect()
}

/// Rows of a prompt: with more the carried model's activations exceed the smallest of the masks' bindings.
const ROWS: u32 = 10;
