//! A model out of files that are not GGUF, under the names that GGUF gives its keys and tensors, so that whoever reads models reads one kind.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::formats::{F32, TensorType};
use crate::gguf::metadata::Metadata;
use crate::gguf::part::{Bytes, Gathered, MAX_TENSORS, Part};
use crate::gguf::reader::Reader;
use crate::gguf::value::{Array, ValueType};
use crate::gguf::{Gguf, Tensor, Value, writer};

/// Keys and tensors, gathered.
pub struct Assembly {
    folder: PathBuf,
    /// Keys and values as a GGUF file stores them.
    keys: Vec<u8>,
    count: u64,
    files: Vec<(PathBuf, Bytes)>,
    /// Tensors of which no file holds the numbers.
    made: Vec<u8>,
    tensors: Vec<Tensor>,
}

/// Where a tensor of [`Assembly::make`] lies until the files are counted.
const MADE: usize = usize::MAX;

impl Assembly {
    /// Nothing yet; `folder` is its name.
    pub fn new(folder: &Path) -> Assembly {
        let folder = folder.to_owned();
        Assembly {
            folder,
            keys: Vec::new(),
            count: 0,
            files: Vec::new(),
            made: Vec::new(),
            tensors: Vec::new(),
        }
    }

    /// Adds a key.
    pub fn key(&mut self, key: &str, value: Value<'_>) {
        self.count += 1;
        writer::key(&mut self.keys, key, &value);
    }

    /// Adds a key with a list of bools.
    pub fn bools(&mut self, key: &str, values: &[bool]) {
        let bytes: Vec<u8> = values.iter().map(|&value| value as u8).collect();
        self.key(key, Value::Array(Array { element: ValueType::Bool, count: values.len(), bytes: &bytes }));
    }

    /// Maps a file and gives its number.
    ///
    /// # Errors
    /// [`Error::Model`] if it cannot be read.
    pub fn map(&mut self, path: &Path) -> Result<usize> {
        self.files.push((path.to_owned(), Bytes::map(path, "a safetensors file")?));
        Ok(self.files.len() - 1)
    }

    /// The bytes of a mapped file.
    pub fn bytes(&self, file: usize) -> &[u8] {
        &self.files[file].1
    }

    /// Adds a tensor that lies in a mapped file. `dims` are in GGUF's order, the length of a row first.
    pub fn stored(
        &mut self,
        name: String,
        dims: Vec<u64>,
        kind: &'static TensorType,
        file: usize,
        range: Range<usize>,
    ) {
        let (offset, bytes) = (range.start as u64, range.len() as u64);
        self.tensors.push(Tensor { name, dims, kind, bytes, part: file, offset });
    }

    /// Adds a key with a list of numbers.
    pub fn counts(&mut self, key: &str, values: &[u32]) {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.key(key, Value::Array(Array { element: ValueType::U32, count: values.len(), bytes: &bytes }));
    }

    /// Adds a tensor whose bytes are made of stretches of mapped files when they are first read.
    pub fn gathered(
        &mut self,
        name: String,
        dims: Vec<u64>,
        kind: &'static TensorType,
        sources: &[(usize, Range<usize>)],
        make: impl Fn(&[&[u8]]) -> Vec<u8> + Send + Sync + 'static,
    ) {
        let of_file = |(file, range): &(usize, Range<usize>)| (self.files[*file].1.clone(), range.clone());
        let sources = sources.iter().map(of_file).collect();
        let gathered = Gathered::new(sources, Box::new(make));
        let bytes = dims.iter().product::<u64>() / kind.weights as u64 * kind.bytes as u64;
        self.files.push((self.folder.clone(), Bytes::Gathered(Arc::new(gathered))));
        let part = self.files.len() - 1;
        self.tensors.push(Tensor { name, dims, kind, bytes, part, offset: 0 });
    }

    /// Adds a tensor of one row of f32 that no file holds.
    pub fn make(&mut self, name: String, numbers: &[f32]) {
        let (offset, bytes) = (self.made.len() as u64, 4 * numbers.len() as u64);
        self.made.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        let dims = vec![numbers.len() as u64];
        self.tensors.push(Tensor { name, dims, kind: F32, bytes, part: MADE, offset });
    }

    /// The whole; `checkpoint`: what is not in it, such as the tokenizer, is in its folder.
    ///
    /// # Errors
    /// [`Error::Model`] if keys or tensors are there twice, or there are too many.
    pub fn finish(mut self, checkpoint: bool) -> Result<Gguf> {
        let error = |what: String| Error::Model(what).in_file(&self.folder);
        if self.tensors.len() > MAX_TENSORS {
            return Err(error(format!("has {} tensors, expected {MAX_TENSORS} at most", self.tensors.len())));
        }
        let keys = Bytes::Owned(Arc::new(self.keys));
        let metadata = Metadata::read(keys.clone(), &mut Reader::new(&keys), self.count).map_err(error)?;
        let mut parts = vec![Part::of(&self.folder, keys, metadata)];
        self.files.push((self.folder.clone(), Bytes::Owned(Arc::new(self.made))));
        let made = self.files.len();
        for (path, bytes) in self.files {
            parts.push(Part::of(&path, bytes, Metadata::none()));
        }
        for tensor in &mut self.tensors {
            tensor.part = if tensor.part == MADE { made } else { tensor.part + 1 };
        }
        Gguf::of_tensors(parts, self.tensors, Some(self.folder).filter(|_| checkpoint))
    }
}
