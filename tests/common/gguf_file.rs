//! Writes GGUF files for tests and benches: small models in memory, and files that are wrong in one chosen place.
//! Nothing is checked here; reading and refusing is the business of `wgllm::gguf`.

// Every test takes what it needs of this.
#![allow(dead_code)]

use std::path::Path;

/// A file to be. All fields may be changed before `bytes` writes it.
#[derive(Debug, Clone)]
pub struct GgufFile {
    pub version: u32,
    /// Tensor data are padded to multiples of this many bytes; `with_alignment` also writes the key that says so.
    pub alignment: u64,
    /// Keys in order.
    pub metadata: Vec<(Vec<u8>, Meta)>,
    /// Tensors in order.
    pub tensors: Vec<TensorInfo>,
    /// The numbers of tensors and of keys that the header promises, where they are not the true ones.
    pub promised_tensors: Option<u64>,
    pub promised_keys: Option<u64>,
}

/// A metadata value.
#[derive(Debug, Clone)]
pub enum Meta {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    Str(Vec<u8>),
    U64(u64),
    I64(i64),
    F64(f64),
    /// GGUF's number of the element type, then the elements.
    Array(u32, Vec<Meta>),
    /// A type of any number, then any bytes.
    Raw(u32, Vec<u8>),
}

/// A tensor and its data.
#[derive(Debug, Clone)]
pub struct TensorInfo {
    pub name: Vec<u8>,
    /// In ggml's order: the first is the length of a row.
    pub dims: Vec<u64>,
    /// The number of dimensions that is written, where it is not that of `dims`.
    pub promised_dims: Option<u32>,
    /// ggml's number of the type.
    pub kind: u32,
    /// The offset from the beginning of the data that is written, where it is not the true one.
    pub offset: Option<u64>,
    pub data: Vec<u8>,
}

impl Default for GgufFile {
    fn default() -> Self {
        GgufFile {
            version: 3,
            alignment: 32,
            metadata: Vec::new(),
            tensors: Vec::new(),
            promised_tensors: None,
            promised_keys: None,
        }
    }
}

impl GgufFile {
    /// A file of version 3 without keys and tensors.
    pub fn new() -> Self {
        GgufFile::default()
    }

    /// Adds a key.
    pub fn with(mut self, key: &str, value: impl Into<Meta>) -> Self {
        self.metadata.push((key.into(), value.into()));
        self
    }

    /// Pads data to this alignment and adds `general.alignment`.
    pub fn with_alignment(mut self, alignment: u32) -> Self {
        self.alignment = alignment.into();
        self.with("general.alignment", alignment)
    }

    /// Adds a tensor of any type from its bytes.
    pub fn tensor(mut self, name: &str, dims: &[u64], kind: u32, data: Vec<u8>) -> Self {
        self.put(name, dims, kind, data);
        self
    }

    /// Adds a tensor of F32.
    pub fn f32s(self, name: &str, dims: &[u64], data: &[f32]) -> Self {
        self.tensor(name, dims, 0, data.iter().flat_map(|x| x.to_le_bytes()).collect())
    }

    /// Adds a tensor as it stands.
    pub fn info(mut self, tensor: TensorInfo) -> Self {
        self.tensors.push(tensor);
        self
    }

    /// Gives a key another value, or adds it.
    pub fn set(&mut self, key: &str, value: impl Into<Meta>) {
        match self.metadata.iter_mut().find(|(k, _)| k == key.as_bytes()) {
            Some(entry) => entry.1 = value.into(),
            None => self.metadata.push((key.into(), value.into())),
        }
    }

    /// Takes a key away.
    pub fn unset(&mut self, key: &str) {
        self.metadata.retain(|(k, _)| k != key.as_bytes());
    }

    /// The tensor of this name.
    pub fn find(&mut self, name: &str) -> &mut TensorInfo {
        let found = self.tensors.iter_mut().find(|t| t.name == name.as_bytes());
        found.unwrap_or_else(|| panic!("{name} is not in the test's file"))
    }

    /// Adds a tensor in place.
    pub fn put(&mut self, name: &str, dims: &[u64], kind: u32, data: Vec<u8>) {
        let (name, dims) = (name.into(), dims.to_vec());
        self.tensors.push(TensorInfo { name, dims, promised_dims: None, kind, offset: None, data });
    }

    /// Takes a tensor away.
    pub fn remove(&mut self, name: &str) {
        self.tensors.retain(|t| t.name != name.as_bytes());
    }

    /// The file.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(self.version.to_le_bytes());
        out.extend(self.promised_tensors.unwrap_or(self.tensors.len() as u64).to_le_bytes());
        out.extend(self.promised_keys.unwrap_or(self.metadata.len() as u64).to_le_bytes());
        for (key, value) in &self.metadata {
            string(&mut out, key);
            out.extend(value.type_id().to_le_bytes());
            value.write(&mut out);
        }
        let mut end = 0;
        for tensor in &self.tensors {
            string(&mut out, &tensor.name);
            out.extend(tensor.promised_dims.unwrap_or(tensor.dims.len() as u32).to_le_bytes());
            tensor.dims.iter().for_each(|d| out.extend(d.to_le_bytes()));
            out.extend(tensor.kind.to_le_bytes());
            out.extend(tensor.offset.unwrap_or(end).to_le_bytes());
            end = (end + tensor.data.len() as u64).next_multiple_of(self.alignment);
        }
        for tensor in &self.tensors {
            self.pad(&mut out);
            out.extend(&tensor.data);
        }
        self.pad(&mut out);
        out
    }

    /// The file, for as long as the process lives: what `Gguf::from_static` takes.
    pub fn leak(&self) -> &'static [u8] {
        self.bytes().leak()
    }

    /// Writes the file to disk.
    pub fn write(&self, path: &Path) -> std::io::Result<()> {
        std::fs::write(path, self.bytes())
    }

    fn pad(&self, out: &mut Vec<u8>) {
        out.resize(out.len().next_multiple_of(self.alignment as usize), 0);
    }
}

impl Meta {
    /// GGUF's number of the value's type.
    pub fn type_id(&self) -> u32 {
        match self {
            Meta::U8(_) => 0,
            Meta::I8(_) => 1,
            Meta::U16(_) => 2,
            Meta::I16(_) => 3,
            Meta::U32(_) => 4,
            Meta::I32(_) => 5,
            Meta::F32(_) => 6,
            Meta::Bool(_) => 7,
            Meta::Str(_) => 8,
            Meta::Array(..) => 9,
            Meta::U64(_) => 10,
            Meta::I64(_) => 11,
            Meta::F64(_) => 12,
            Meta::Raw(id, _) => *id,
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Meta::U8(x) => out.extend(x.to_le_bytes()),
            Meta::I8(x) => out.extend(x.to_le_bytes()),
            Meta::U16(x) => out.extend(x.to_le_bytes()),
            Meta::I16(x) => out.extend(x.to_le_bytes()),
            Meta::U32(x) => out.extend(x.to_le_bytes()),
            Meta::I32(x) => out.extend(x.to_le_bytes()),
            Meta::F32(x) => out.extend(x.to_le_bytes()),
            Meta::Bool(x) => out.push(u8::from(*x)),
            Meta::Str(x) => string(out, x),
            Meta::U64(x) => out.extend(x.to_le_bytes()),
            Meta::I64(x) => out.extend(x.to_le_bytes()),
            Meta::F64(x) => out.extend(x.to_le_bytes()),
            Meta::Array(element, values) => {
                out.extend(element.to_le_bytes());
                out.extend((values.len() as u64).to_le_bytes());
                values.iter().for_each(|value| value.write(out));
            }
            Meta::Raw(_, bytes) => out.extend(bytes),
        }
    }
}

fn string(out: &mut Vec<u8>, text: &[u8]) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text);
}

impl From<u32> for Meta {
    fn from(x: u32) -> Meta {
        Meta::U32(x)
    }
}

impl From<f32> for Meta {
    fn from(x: f32) -> Meta {
        Meta::F32(x)
    }
}

impl From<bool> for Meta {
    fn from(x: bool) -> Meta {
        Meta::Bool(x)
    }
}

impl From<&str> for Meta {
    fn from(x: &str) -> Meta {
        Meta::Str(x.into())
    }
}

impl From<&[&str]> for Meta {
    fn from(x: &[&str]) -> Meta {
        Meta::Array(8, x.iter().map(|&s| s.into()).collect())
    }
}

impl From<&[bool]> for Meta {
    fn from(v: &[bool]) -> Self {
        Meta::Array(7, v.iter().map(|&b| Meta::Bool(b)).collect())
    }
}

impl From<&[f32]> for Meta {
    fn from(x: &[f32]) -> Meta {
        Meta::Array(6, x.iter().map(|&x| Meta::F32(x)).collect())
    }
}

impl From<&[i32]> for Meta {
    fn from(x: &[i32]) -> Meta {
        Meta::Array(5, x.iter().map(|&x| Meta::I32(x)).collect())
    }
}

impl From<&[u32]> for Meta {
    fn from(x: &[u32]) -> Meta {
        Meta::Array(4, x.iter().map(|&x| Meta::U32(x)).collect())
    }
}
