//! GGUF files, versions 2 and 3: header, metadata and tensor table over a memory map. Knows no model.
//!
//! Everything is checked when a file is opened (by llama.cpp's rules, `gguf.cpp`), and nothing is allocated by a count
//! that the file's own size does not prove: whatever the file says, opening it allocates less than its size and 64 MiB.
//! What a tensor's bytes mean is for [`crate::formats`]; what a key means, for whoever asks.

mod assembly;
mod metadata;
mod part;
mod reader;
mod split;
mod value;
mod writer;

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::formats::TensorType;

pub use assembly::Assembly;
pub use metadata::Metadata;
use part::Part;
pub use value::{Array, Strings, Value, ValueType, Values};
pub use writer::{NewTensor, Writer};

/// A tensor of a file.
#[derive(Debug)]
pub struct Tensor {
    /// Its name.
    pub name: String,
    /// Its dimensions in ggml's order: `dims[0]` is the length of a row.
    pub dims: Vec<u64>,
    /// How its numbers are stored.
    pub kind: &'static TensorType,
    /// Bytes of its data.
    pub bytes: u64,
    part: usize,
    offset: u64,
}

impl Tensor {
    /// The number of weights.
    pub fn elements(&self) -> u64 {
        self.dims.iter().product()
    }
}

/// A model file: one file, all parts of a split one, or an [`Assembly`] of others.
pub struct Gguf {
    name: String,
    parts: Vec<Part>,
    tensors: Vec<Tensor>,
    by_name: HashMap<String, usize>,
    checkpoint: Option<PathBuf>,
}

impl Gguf {
    /// Opens a file. Of a split model this is the first part; the others are found beside it.
    ///
    /// Whatever is wrong with it is an [`Error::Model`](crate::Error::Model) that names the file and the key or tensor.
    pub fn open(path: &Path) -> Result<Gguf> {
        Gguf::from_parts(split::open(path)?)
    }

    /// A model that the program itself carries, under a name for messages.
    pub fn from_static(name: &str, bytes: &'static [u8]) -> Result<Gguf> {
        Gguf::from_parts(vec![Part::from_static(name, bytes)?])
    }

    fn from_parts(mut parts: Vec<Part>) -> Result<Gguf> {
        split::check(&parts)?;
        let first = &parts[0];
        // Of any other type, or not UTF-8, it names no other kind of file.
        let kind = first.metadata().get("general.type").and_then(|value| value.str());
        if let Some(kind) = kind.filter(|&kind| kind != "model") {
            return Err(first.error(format!(
                "key general.type is \"{}\", expected \"model\": the file goes with a model but is none",
                shown(kind)
            )));
        }
        let mut tensors: Vec<Tensor> = Vec::new();
        for (at, part) in parts.iter_mut().enumerate() {
            tensors.extend(part.take_tensors().into_iter().map(|tensor| Tensor { part: at, ..tensor }));
        }
        Gguf::of_tensors(parts, tensors, None)
    }

    fn of_tensors(parts: Vec<Part>, tensors: Vec<Tensor>, checkpoint: Option<PathBuf>) -> Result<Gguf> {
        let mut by_name = HashMap::new();
        for (at, tensor) in tensors.iter().enumerate() {
            if let Some(other) = by_name.insert(tensor.name.clone(), at) {
                let other = parts[tensors[other].part].path().display();
                let what = format!("tensor {} is there twice, first in {other}", shown(&tensor.name));
                return Err(parts[tensor.part].error(what));
            }
        }
        Ok(Gguf { name: parts[0].path().display().to_string(), parts, tensors, by_name, checkpoint })
    }

    /// The folder with `config.json` and safetensors files that the model was read from; none where it is GGUF.
    pub fn checkpoint(&self) -> Option<&Path> {
        self.checkpoint.as_deref()
    }

    /// The file's name, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The files that are read; none where the program carries the model.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.parts.iter().filter(|part| part.is_mapped()).map(Part::path)
    }

    /// GGUF's version.
    pub fn version(&self) -> u32 {
        self.parts[0].version()
    }

    /// Tensors begin at multiples of this many bytes.
    pub fn alignment(&self) -> u64 {
        self.parts[0].alignment()
    }

    /// Bytes of all parts.
    pub fn file_bytes(&self) -> u64 {
        self.parts.iter().map(Part::file_bytes).sum()
    }

    /// The metadata: that of the first part.
    pub fn metadata(&self) -> &Metadata {
        self.parts[0].metadata()
    }

    /// All tensors, in the order of the file.
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// The tensor of this name.
    pub fn tensor(&self, name: &str) -> Option<&Tensor> {
        self.by_name.get(name).map(|&at| &self.tensors[at])
    }

    /// A tensor's data: exactly `tensor.bytes` bytes, at no particular alignment in memory.
    pub fn data(&self, tensor: &Tensor) -> &[u8] {
        let start = tensor.offset as usize;
        &self.parts[tensor.part].bytes()[start..start + tensor.bytes as usize]
    }

    /// The same bytes for who reads them once: what is made of several places in a checkpoint is made for him alone.
    pub fn data_once(&self, tensor: &Tensor) -> Cow<'_, [u8]> {
        let range = tensor.offset as usize..(tensor.offset + tensor.bytes) as usize;
        match self.parts[tensor.part].bytes_once() {
            Cow::Borrowed(bytes) => Cow::Borrowed(&bytes[range]),
            Cow::Owned(bytes) if range == (0..bytes.len()) => Cow::Owned(bytes),
            Cow::Owned(bytes) => Cow::Owned(bytes[range].to_vec()),
        }
    }
}

/// A key or a name from a file as messages show it: in one line, without control characters, cut after 80 characters.
pub fn shown(name: &str) -> String {
    let mut shown: String = name.chars().take(80).flat_map(char::escape_debug).collect();
    if name.chars().nth(80).is_some() {
        shown.push('…');
    }
    shown
}
