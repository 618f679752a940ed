//! Golden data: where they are, and how NumPy's and JSON's files among them are read.
#![allow(dead_code)] // Each test binary uses its own share of this.

use std::path::{Path, PathBuf};
use std::{env, fs};

use libtest_mimic::Failed;
use serde_json::Value;
use wgllm::error::Result;
use wgllm::gguf::Gguf;
use wgllm::models::Model;
use wgllm::tokenizer::Tokenizer;

/// A model for each kind of layer, by the folder's name, and the one that the repository carries.
pub const KINDS: &[&str] = &[
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

/// The folder that an environment variable names, or one beside this repository.
fn folder(variable: &str, default: &str) -> PathBuf {
    env::var_os(variable).map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(default), PathBuf::from)
}

/// Where the golden data are.
pub fn fixtures() -> PathBuf {
    folder("WGLLM_FIXTURES", "../shared/fixtures")
}

/// Where the model is that the repository carries, with what it is known to say.
pub fn demo() -> PathBuf {
    folder("WGLLM_DEMO", "../shared/demo")
}

/// Where what is known of trained models is that people download.
pub fn real() -> PathBuf {
    folder("WGLLM_REAL", "../shared/real")
}

/// The folders of these, each with its name, and with the model's file where that was fetched.
pub fn trained() -> Vec<(PathBuf, String, Option<PathBuf>)> {
    let file = |folder: &Path| {
        let expected = json(&folder.join("expected.json")).ok()?;
        let file = expected["model"]["file"].as_str()?;
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/models").join(file);
        path.is_file().then_some(path)
    };
    let folders = entries(&real()).into_iter().filter(|folder| folder.is_dir());
    let named = |folder: PathBuf| {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let file = file(&folder);
        (folder, name, file)
    };
    folders.map(named).collect()
}

/// Why a trial of a trained model is ignored.
pub fn not_fetched(name: &str) -> String {
    format!("{name} (its file is not in target/models, where get.sh fetches it)")
}

/// What a folder holds, by name; nothing where there is no folder.
pub fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut entries: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    entries.sort();
    entries
}

/// The same, files of one ending only.
pub fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut files = entries(folder);
    files.retain(|path| path.extension().is_some_and(|e| e == ending));
    files
}

/// The last part of a path.
pub fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// Why the engine does not run a file, in its own words: an architecture, a type or a pre-tokenizer that it does not know. What is
/// wrong with a file otherwise is for the trial to find: golden files are right.
pub fn unknown(path: &Path) -> Option<String> {
    let read = || -> Result<()> {
        let file = Gguf::open(path)?;
        Model::from_gguf(&file, None)?;
        Tokenizer::from_metadata(file.metadata()).map(drop)
    };
    let text = read().err()?.to_string();
    let text = text.strip_prefix(&format!("{}: ", path.display())).unwrap_or(&text);
    text.contains("known").then(|| text.split("; known").next().unwrap_or(text).to_string())
}

/// A JSON file.
pub fn json(path: &Path) -> Result<Value, Failed> {
    let text = fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(serde_json::from_slice(&text)?)
}

/// A list of token ids.
pub fn ids(value: &Value) -> Result<Vec<u32>, Failed> {
    let list = value.as_array().ok_or_else(|| format!("{value} is no list of ids"))?;
    list.iter().map(|id| Ok(id.as_u64().ok_or("an id is no number")?.try_into()?)).collect()
}

/// A list of numbers.
pub fn numbers(value: &Value) -> Result<Vec<f64>, Failed> {
    let list = value.as_array().ok_or_else(|| format!("{value} is no list of numbers"))?;
    list.iter().map(|n| n.as_f64().ok_or_else(|| format!("{n} is no number").into())).collect()
}

/// A matrix of a NumPy file of version 1.0 in little-endian float32: its values, and the length of a row.
pub fn npy(path: &Path) -> Result<(Vec<f32>, usize), Failed> {
    let wrong = || format!("{} is no matrix of float32 in NumPy's format 1.0", path.display());
    let bytes = fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
    if bytes.len() < 10 || !bytes.starts_with(b"\x93NUMPY\x01\x00") {
        return Err(wrong().into());
    }
    let end = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = String::from_utf8_lossy(bytes.get(10..end).ok_or_else(wrong)?);
    let shape = header.split_once("'shape': (").and_then(|(_, rest)| rest.split_once(')'));
    let shape: Option<Vec<usize>> =
        shape.and_then(|(shape, _)| shape.split(',').map(|n| n.trim().parse().ok()).collect());
    let values: Vec<f32> = bytes[end..].as_chunks().0.iter().map(|v| f32::from_le_bytes(*v)).collect();
    match shape.as_deref() {
        Some(&[rows, cols]) if header.contains("'<f4'") && rows * cols == values.len() => Ok((values, cols)),
        _ => Err(wrong().into()),
    }
}
