//! Checkpoints as Hugging Face's libraries write them: a folder with `config.json` and one or several safetensors files. Knows what stands
//! where; what it means is for [`crate::models`].

mod config;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::formats::{TensorType, tensor_type};
use crate::gguf::{Assembly, shown};

pub use config::Config;

/// The files by which a folder is told to be a checkpoint, and the names of weights that are looked for in it.
const CONFIG: &str = "config.json";
const INDEX: &str = "model.safetensors.index.json";
const SINGLE: &str = "model.safetensors";

/// The longest configuration or index that is read, in bytes; the longest known have some hundred KiB.
const MAX_JSON: u64 = 64 << 20;

/// A tensor of a checkpoint.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The length of a row first, as GGUF counts.
    pub dims: Vec<u64>,
    /// Its type; none where it is one that no format here reads, which `type_name` then names.
    pub kind: Option<&'static TensorType>,
    /// The type's name in the file.
    pub type_name: String,
    /// The file's number in the assembly.
    pub file: usize,
    /// Its bytes there.
    pub range: Range<usize>,
}

/// An opened folder: its configuration, its tensors by name, and the assembly that has mapped its files.
pub struct Checkpoint {
    /// `config.json`.
    pub config: Config,
    /// All tensors by their names in the files.
    pub tensors: BTreeMap<String, Stored>,
    /// What becomes the model.
    pub assembly: Assembly,
    folder: PathBuf,
}

/// Whether a path is a checkpoint's folder, at the cost of a look.
pub fn is_checkpoint(path: &Path) -> bool {
    path.is_dir() && path.join(CONFIG).is_file()
}

impl Checkpoint {
    /// Opens a folder: reads its configuration and the headers of its files, which are mapped.
    ///
    /// # Errors
    /// [`Error::Model`] with the file's name, if one is missing, damaged, or says the same twice.
    pub fn open(folder: &Path) -> Result<Checkpoint> {
        let config = Config::new(read_json(&folder.join(CONFIG))?, folder.join(CONFIG));
        let mut assembly = Assembly::new(folder);
        let mut tensors: BTreeMap<String, Stored> = BTreeMap::new();
        for path in files(folder)? {
            let file = assembly.map(&path)?;
            for (name, stored) in header(assembly.bytes(file), file).map_err(|e| e.in_file(&path))? {
                if tensors.contains_key(&name) {
                    let what = format!("tensor {} is there twice", shown(&name));
                    return Err(Error::Model(what).in_file(&path));
                }
                tensors.insert(name, stored);
            }
        }
        Ok(Checkpoint { config, tensors, assembly, folder: folder.into() })
    }

    /// A JSON file beside the configuration; none where there is none.
    pub fn beside(&self, name: &str) -> Result<Option<Value>> {
        let path = self.folder.join(name);
        if path.is_file() { read_json(&path).map(Some) } else { Ok(None) }
    }

    /// A text beside the configuration; none where there is none.
    pub fn text_beside(&self, name: &str) -> Result<Option<String>> {
        let path = self.folder.join(name);
        if path.is_file() { read_text(&path).map(Some) } else { Ok(None) }
    }
}

/// The files of weights: those that the index names, or the one there is.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let index = folder.join(INDEX);
    if !index.is_file() {
        return Ok(vec![folder.join(SINGLE)]);
    }
    let json = read_json(&index)?;
    let error = |what: &str| Error::Model(what.into()).in_file(&index);
    let map = json["weight_map"].as_object().ok_or_else(|| error("has no weight_map"))?;
    let mut names: Vec<&str> = Vec::new();
    for file in map.values() {
        let name =
            file.as_str().ok_or_else(|| error("has a weight_map with something else than names of files"))?;
        // A name leads nowhere else.
        if name.contains(['/', '\\']) || name.starts_with('.') {
            return Err(error(&format!("names the file {:?}, expected one in the same folder", shown(name))));
        }
        names.push(name);
    }
    names.sort_unstable();
    names.dedup();
    Ok(names.into_iter().map(|name| folder.join(name)).collect())
}

/// The table of a safetensors file. The crate checks that tensors lie within the file, one behind the other, and have the bytes of
/// their shapes.
fn header(bytes: &[u8], file: usize) -> Result<Vec<(String, Stored)>> {
    let damaged = |e: safetensors::SafeTensorError| Error::Model(format!("is no safetensors file: {e}"));
    let tensors = SafeTensors::deserialize(bytes).map_err(damaged)?;
    let start = bytes.as_ptr() as usize;
    let stored = |(name, view): (&str, safetensors::tensor::TensorView<'_>)| {
        let at = if view.data().is_empty() { 0 } else { view.data().as_ptr() as usize - start };
        let stored = Stored {
            dims: view.shape().iter().rev().map(|&dim| dim as u64).collect(),
            kind: kind(view.dtype()),
            type_name: format!("{:?}", view.dtype()),
            file,
            range: at..at + view.data().len(),
        };
        (name.to_string(), stored)
    };
    Ok(tensors.iter().map(stored).collect())
}

/// The type of ggml's that has the same numbers in the same bytes.
fn kind(dtype: Dtype) -> Option<&'static TensorType> {
    match dtype {
        Dtype::F32 => tensor_type(0),
        Dtype::F16 => tensor_type(1),
        Dtype::BF16 => tensor_type(30),
        _ => None,
    }
}

fn read_json(path: &Path) -> Result<Value> {
    let text = read_text(path)?;
    serde_json::from_str(&text).map_err(|e| Error::Model(format!("is not JSON: {e}")).in_file(path))
}

fn read_text(path: &Path) -> Result<String> {
    let error = |what: String| Error::Model(what).in_file(path);
    let bytes = std::fs::metadata(path).map_err(|e| error(format!("cannot be read: {e}")))?.len();
    if bytes > MAX_JSON {
        return Err(error(format!("has {bytes} bytes, expected {MAX_JSON} at most")));
    }
    std::fs::read_to_string(path).map_err(|e| error(format!("cannot be read: {e}")))
}
