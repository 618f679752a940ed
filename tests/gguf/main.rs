//! GGUF files: what is read is what was written, what is wrong is refused by name, and no file costs more memory than
//! it is worth.

#[path = "../common/gguf_file.rs"]
mod gguf_file;
mod hostile;
mod read;
mod refused;
mod split;

use std::path::{Path, PathBuf};

use libtest_mimic::{Arguments, Failed, Trial};
use wgllm::gguf::Gguf;

type Outcome = Result<(), Failed>;
type Test = (&'static str, fn() -> Outcome);

fn main() -> std::process::ExitCode {
    let mut trials = golden();
    trials.extend(read::trials());
    trials.extend(refused::trials());
    trials.extend(split::trials());
    trials.extend(hostile::trials());
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// Every GGUF file among the golden data and the demo models beside them.
fn golden() -> Vec<Trial> {
    let fixtures = std::env::var_os("WGLLM_FIXTURES")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/fixtures"), PathBuf::from);
    let mut files = Vec::new();
    for folder in [fixtures.clone(), fixtures.join("../demo")] {
        find(&folder, &mut files);
    }
    if files.is_empty() {
        let name = format!("golden data: nothing in {}; set WGLLM_FIXTURES", fixtures.display());
        return vec![Trial::test(name, || Ok(())).with_ignored_flag(true)];
    }
    let trial = |file: PathBuf| {
        let name = file.strip_prefix(&fixtures).unwrap_or(&file).display().to_string();
        Trial::test(format!("golden::{name}"), move || opens(&file))
    };
    files.into_iter().map(trial).collect()
}

fn find(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = folder.read_dir() else { return };
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| entry.ok().map(|e| e.path())).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            find(&path, files);
        } else if path.extension().is_some_and(|ext| ext == "gguf") {
            files.push(path);
        }
    }
}

/// A real file opens, can be read from end to end, and has tensors unless it is a vocabulary.
fn opens(path: &Path) -> Outcome {
    let file = Gguf::open(path)?;
    let length = std::fs::metadata(path)?.len();
    ensure(file.file_bytes() == length, || format!("{} bytes, expected {length}", file.file_bytes()))?;
    file.metadata().need_str("general.architecture")?;
    let bytes = read_all(&file);
    ensure(bytes <= length, || format!("{bytes} bytes of tensors in a file of {length}"))?;
    let is_vocabulary = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("ggml-vocab"));
    ensure(file.tensors().is_empty() == is_vocabulary, || format!("{} tensors", file.tensors().len()))
}

/// Touches everything that a file holds; gives the bytes of its tensors.
fn read_all(file: &Gguf) -> u64 {
    for (key, value) in file.metadata().iter() {
        let _ = (key.len(), value.to_string(), value.type_name());
        if let wgllm::gguf::Value::Array(array) = value {
            assert_eq!(array.iter().count(), array.len(), "{key}");
        }
    }
    let mut bytes = 0;
    for tensor in file.tensors() {
        let data = file.data(tensor);
        assert_eq!(data.len() as u64, tensor.bytes, "{}", tensor.name);
        assert!(std::ptr::eq(file.tensor(&tensor.name).unwrap(), tensor), "{}", tensor.name);
        assert_eq!(tensor.bytes * tensor.kind.weights as u64, tensor.elements() * tensor.kind.bytes as u64);
        std::hint::black_box(data.iter().fold(0u8, |sum, &byte| sum.wrapping_add(byte)));
        bytes += tensor.bytes;
    }
    bytes
}

fn ensure(holds: bool, message: impl FnOnce() -> String) -> Outcome {
    if holds { Ok(()) } else { Err(message().into()) }
}

/// Demands that a file is refused as a bad model, in words that hold its name and all of `words`.
fn refuses(opened: wgllm::Result<Gguf>, name: &str, words: &[&str]) -> Outcome {
    let Err(error) = opened else { return Err("was accepted".into()) };
    ensure(error.exit_code() == 3, || format!("exit code {}: {error}", error.exit_code()))?;
    let text = error.to_string();
    ensure(text.contains(name), || format!("no {name} in: {text}"))?;
    match words.iter().find(|&&word| !text.contains(word)) {
        Some(word) => Err(format!("no {word:?} in: {text}").into()),
        None => Ok(()),
    }
}
