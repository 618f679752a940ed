//! The golden models, node by node.

use std::path::{Path, PathBuf};

use libtest_mimic::Trial;
use wgllm::backend::Precision;
use wgllm::engine::Options;
use wgllm::gguf::Gguf;

use crate::adapters::Target;
use crate::fixtures::{demo, entries, files, fixtures, unknown};
use crate::{Outcome, agrees, masks, run};

pub fn trials(target: &Target) -> Vec<Trial> {
    let mut found: Vec<PathBuf> = Vec::new();
    for folder in entries(&fixtures().join("models")).iter().chain(&entries(&fixtures().join("real"))) {
        found.extend(files(folder, "gguf"));
    }
    found.extend(files(&demo(), "gguf"));
    // A second file has the same layers in F16; formats are those of models made in memory.
    found.retain(|path| path.file_name().is_some_and(|name| name != "model-f16.gguf"));
    found.iter().map(|path| trial(target, path)).collect()
}

fn trial(target: &Target, path: &Path) -> Trial {
    let folder = path.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned();
    let name = format!("{folder}/{}", path.file_name().unwrap_or_default().to_string_lossy());
    if let Some(reason) = unknown(path) {
        return Trial::test(format!("{name} ({reason})"), || Ok(())).with_ignored_flag(true);
    }
    let (path, target) = (path.to_owned(), target.clone());
    Trial::test(format!("{name} on {}", target.label), move || under_every_mask(&path, &target))
}

/// Rows of a prompt: with more the carried model's activations exceed the smallest of the masks' bindings.
const ROWS: u32 = 10;

/// A model for each kind of layer, which meets each mask. The others' layers are made of the same kernels, and formats meet masks in
/// models made in memory.
const KINDS: &[&str] = &[
    "llama",
    "llama-mha-bias",
    "gpt2",
    "phi2",
    "olmo2",
    "qwen3",
    "gemma3",
    "gemma4",
    "gemma4-e",
    "gemma4-moe",
    "mixtral",
    "gpt-oss",
    "deepseek3",
    "llama4",
    "lfm2",
    "qwen35",
    "granitehybrid",
    "demo",
];

fn under_every_mask(path: &Path, target: &Target) -> Outcome {
    let folder = path.parent().and_then(Path::file_name).unwrap_or_default();
    let all = KINDS.iter().any(|kind| folder == *kind);
    for (name, masks) in masks().into_iter().take(if all { usize::MAX } else { 1 }) {
        let options = Options { masks, ..target.options(Precision::Fast) };
        let report = run(Gguf::open(path)?, &options, 500, ROWS)?;
        agrees(&report).map_err(|e| format!("{name}: {}", e.message().unwrap_or("")))?;
    }
    Ok(())
}
