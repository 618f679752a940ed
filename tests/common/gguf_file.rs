//! Writes GGUF files for tests: right ones, and ones that lie wherever a field lets them. Knows no model.
#![allow(dead_code)] // Each test binary uses its own share of this.

use std::path::{Path, PathBuf};

/// A metadata value.
#[derive(Clone, Debug)]
pub enum Meta {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    U64(u64),
    I64(i64),
    F32(f32),
    F64(f64),
    Bool(bool),
    Str(String),
    Strs(Vec<String>),
    F32s(Vec<f32>),
    U32s(Vec<u32>),
    I32s(Vec<i32>),
    /// Any type number with any bytes behind it.
    Raw(u32, Vec<u8>),
}

/// A tensor; what is `None` is derived from the rest.
#[derive(Clone, Debug)]
pub struct TensorEntry {
    pub name: Vec<u8>,
    /// In ggml's order: the length of a row first.
    pub dims: Vec<u64>,
    pub n_dims: Option<u32>,
    /// ggml's number of the type.
    pub kind: u32,
    pub offset: Option<u64>,
    pub data: Vec<u8>,
}

/// A file; what is `None` is derived from the rest.
#[derive(Clone, Debug)]
pub struct GgufFile {
    pub magic: [u8; 4],
    pub version: u32,
    pub n_tensors: Option<u64>,
    pub n_keys: Option<u64>,
    pub keys: Vec<(Vec<u8>, Meta)>,
    pub tensors: Vec<TensorEntry>,
    /// Tensors are laid out by this, whatever `general.alignment` says.
    pub alignment: u64,
}

impl Default for GgufFile {
    fn default() -> GgufFile {
        GgufFile {
            magic: *b"GGUF",
            version: 3,
            n_tensors: None,
            n_keys: None,
            keys: Vec::new(),
            tensors: Vec::new(),
            alignment: 32,
        }
    }
}

impl GgufFile {
    /// Sets a key: in its place if it is there, behind the others if not.
    pub fn set(&mut self, key: &str, value: Meta) {
        match self.keys.iter_mut().find(|(k, _)| k == key.as_bytes()) {
            Some(entry) => entry.1 = value,
            None => self.keys.push((key.into(), value)),
        }
    }

    /// Adds a key, even a second time.
    pub fn push(&mut self, key: impl Into<Vec<u8>>, value: Meta) {
        self.keys.push((key.into(), value));
    }

    /// Takes a key away.
    pub fn unset(&mut self, key: &str) {
        self.keys.retain(|(k, _)| k != key.as_bytes());
    }

    /// Adds a tensor.
    pub fn tensor(&mut self, name: &str, dims: &[u64], kind: u32, data: Vec<u8>) {
        let (name, dims) = (name.into(), dims.to_vec());
        self.tensors.push(TensorEntry { name, dims, n_dims: None, kind, offset: None, data });
    }

    /// The tensor of this name.
    pub fn find(&mut self, name: &str) -> &mut TensorEntry {
        let found = self.tensors.iter_mut().find(|t| t.name == name.as_bytes());
        found.unwrap_or_else(|| panic!("{name} is not in the test's file"))
    }

    /// Takes a tensor away.
    pub fn remove(&mut self, name: &str) {
        self.tensors.retain(|t| t.name != name.as_bytes());
    }

    /// Header, keys and tensor table: everything in front of the data.
    pub fn head(&self) -> Vec<u8> {
        let mut out = self.magic.to_vec();
        out.extend(self.version.to_le_bytes());
        out.extend(self.n_tensors.unwrap_or(self.tensors.len() as u64).to_le_bytes());
        out.extend(self.n_keys.unwrap_or(self.keys.len() as u64).to_le_bytes());
        for (key, value) in &self.keys {
            string(&mut out, key);
            value.write(&mut out);
        }
        let mut next = 0;
        for t in &self.tensors {
            string(&mut out, &t.name);
            out.extend(t.n_dims.unwrap_or(t.dims.len() as u32).to_le_bytes());
            t.dims.iter().for_each(|d| out.extend(d.to_le_bytes()));
            out.extend(t.kind.to_le_bytes());
            out.extend(t.offset.unwrap_or(next).to_le_bytes());
            next = (next + t.data.len() as u64).next_multiple_of(self.alignment);
        }
        out
    }

    /// The file's bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = self.head();
        for t in &self.tensors {
            out.resize(out.len().next_multiple_of(self.alignment as usize), 0);
            out.extend(&t.data);
        }
        out
    }

    /// Writes the file into a folder.
    pub fn write(&self, folder: &Path, name: &str) -> PathBuf {
        let path = folder.join(name);
        std::fs::write(&path, self.bytes()).expect("the temporary folder takes files");
        path
    }
}

impl Meta {
    fn write(&self, out: &mut Vec<u8>) {
        let mut scalar = |kind: u32, bytes: &[u8]| {
            out.extend(kind.to_le_bytes());
            out.extend(bytes);
        };
        match self {
            Meta::U8(v) => scalar(0, &v.to_le_bytes()),
            Meta::I8(v) => scalar(1, &v.to_le_bytes()),
            Meta::U16(v) => scalar(2, &v.to_le_bytes()),
            Meta::I16(v) => scalar(3, &v.to_le_bytes()),
            Meta::U32(v) => scalar(4, &v.to_le_bytes()),
            Meta::I32(v) => scalar(5, &v.to_le_bytes()),
            Meta::F32(v) => scalar(6, &v.to_le_bytes()),
            Meta::Bool(v) => scalar(7, &[*v as u8]),
            Meta::U64(v) => scalar(10, &v.to_le_bytes()),
            Meta::I64(v) => scalar(11, &v.to_le_bytes()),
            Meta::F64(v) => scalar(12, &v.to_le_bytes()),
            Meta::Raw(kind, bytes) => scalar(*kind, bytes),
            Meta::Str(v) => {
                scalar(8, &[]);
                string(out, v.as_bytes());
            }
            Meta::Strs(all) => {
                scalar(9, &array(8, all.len() as u64, &[]));
                all.iter().for_each(|s| string(out, s.as_bytes()));
            }
            Meta::F32s(all) => scalar(9, &array(6, all.len() as u64, bytemuck::cast_slice(all))),
            Meta::U32s(all) => scalar(9, &array(4, all.len() as u64, bytemuck::cast_slice(all))),
            Meta::I32s(all) => scalar(9, &array(5, all.len() as u64, bytemuck::cast_slice(all))),
        }
    }
}

/// What follows the type of an array: element type, count, elements. The two need not agree with the third.
pub fn array(element: u32, count: u64, elements: &[u8]) -> Vec<u8> {
    [&element.to_le_bytes()[..], &count.to_le_bytes(), elements].concat()
}

fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend((bytes.len() as u64).to_le_bytes());
    out.extend(bytes);
}
