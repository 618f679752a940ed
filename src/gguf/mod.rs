//! GGUF files, versions 2 and 3: header, metadata and tensor table over a memory map. Knows no model.
//!
//! Everything is checked when a file is opened (by llama.cpp's rules, `gguf.cpp`), and nothing is allocated by a count that the
//! file's own size does not prove. What a tensor's bytes mean is for [`crate::formats`]; what a key means, for whoever asks.

mod metadata;
mod part;
mod reader;
mod value;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::formats::TensorType;

pub use metadata::Metadata;
use part::Part;
pub use value::{Array, Strings, Value, ValueType, Values};

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

/// A model file: one file, or all parts of a split one.
pub struct Gguf {
    name: String,
    parts: Vec<Part>,
    tensors: Vec<Tensor>,
    by_name: HashMap<String, usize>,
}

impl Gguf {
    /// Opens a file. Of a split model this is the first part; the others are found beside it.
    pub fn open(path: &Path) -> Result<Gguf> {
        let first = Part::open(path)?;
        let count = match first.metadata().u32("split.count").map_err(|e| e.in_file(path))? {
            Some(count) if count > 1 => count,
            _ => return Gguf::from_parts(path.display().to_string(), vec![first]),
        };
        let mut parts = vec![first];
        for number in 2..=count {
            parts.push(Part::open(&sibling(path, number, count)?)?);
        }
        Gguf::from_parts(path.display().to_string(), parts)
    }

    /// A model that the program itself carries.
    pub fn from_static(name: &str, bytes: &'static [u8]) -> Result<Gguf> {
        let part = Part::from_static(bytes).map_err(|e| e.in_file(name.as_ref()))?;
        Gguf::from_parts(name.to_string(), vec![part])
    }

    fn from_parts(name: String, mut parts: Vec<Part>) -> Result<Gguf> {
        let path = PathBuf::from(&name);
        check_split(&parts).map_err(|e| e.in_file(&path))?;
        let mut tensors: Vec<Tensor> = Vec::new();
        let mut by_name = HashMap::new();
        for (at, part) in parts.iter_mut().enumerate() {
            for mut tensor in part.take_tensors() {
                tensor.part = at;
                if by_name.insert(tensor.name.clone(), tensors.len()).is_some() {
                    let what = format!("tensor {} is there twice", tensor.name);
                    return Err(Error::Model(what).in_file(&path));
                }
                tensors.push(tensor);
            }
        }
        if let Some(kind) = parts[0].metadata().str("general.type").map_err(|e| e.in_file(&path))?
            && kind != "model"
        {
            let what = format!(
                "general.type is \"{kind}\", expected \"model\": this is not a model but a file for one"
            );
            return Err(Error::Model(what).in_file(&path));
        }
        Ok(Gguf { name, parts, tensors, by_name })
    }

    /// The file's name, for messages.
    pub fn name(&self) -> &str {
        &self.name
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
        self.parts.iter().map(|p| p.bytes().len() as u64).sum()
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

    /// A tensor's data: exactly `tensor.bytes` bytes.
    pub fn data(&self, tensor: &Tensor) -> &[u8] {
        let start = tensor.offset as usize;
        &self.parts[tensor.part].bytes()[start..start + tensor.bytes as usize]
    }
}

/// The path of another part of a split model: `NAME-00001-of-0000N.gguf` with another number.
fn sibling(path: &Path, number: u32, count: u32) -> Result<PathBuf> {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    match name.strip_suffix(&format!("-00001-of-{count:05}.gguf")) {
        Some(stem) => Ok(path.with_file_name(format!("{stem}-{number:05}-of-{count:05}.gguf"))),
        None => {
            let what =
                format!("split.count is {count}; open the first part, named *-00001-of-{count:05}.gguf");
            Err(Error::Model(what).in_file(path))
        }
    }
}

/// Checks what the parts of a split model say of themselves.
fn check_split(parts: &[Part]) -> Result<()> {
    if parts.len() == 1 {
        return match parts[0].metadata().u32("split.no")? {
            None | Some(0) => Ok(()),
            Some(no) => {
                Err(Error::Model(format!("split.no is {no}: this is not the first part of a split model")))
            }
        };
    }
    for (at, part) in parts.iter().enumerate() {
        let meta = part.metadata();
        let (no, count) = (meta.need_u32("split.no")?, meta.need_u32("split.count")?);
        if (no as usize, count as usize) != (at, parts.len()) {
            let expected = parts.len();
            let what = format!(
                "part {} has split.no {no} of split.count {count}, expected {at} of {expected}",
                at + 1
            );
            return Err(Error::Model(what));
        }
    }
    let tensors: usize = parts.iter().map(Part::tensor_count).sum();
    match parts[0].metadata().u32("split.tensors.count")? {
        Some(count) if count as usize != tensors => {
            Err(Error::Model(format!("split.tensors.count is {count}, the parts have {tensors} tensors")))
        }
        _ => Ok(()),
    }
}
