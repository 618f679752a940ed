//! Writes GGUF files, version 3: header, keys, the tensor table; then data, one tensor after the other.

use std::io::{self, Write};

use crate::gguf::Value;

/// GGUF's version that is written.
const VERSION: u32 = 3;

/// A tensor of a file to be.
#[derive(Debug, Clone)]
pub struct NewTensor<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its dimensions in ggml's order.
    pub dims: &'a [u64],
    /// ggml's number of its type.
    pub kind: u32,
    /// Bytes of its data.
    pub bytes: u64,
}

/// A file whose head is written and whose tensors are still to come.
pub struct Writer<W> {
    out: W,
    /// Bytes of each tensor that is to come, the next one last.
    sizes: Vec<u64>,
    alignment: u64,
    written: u64,
}

impl<W: Write> Writer<W> {
    /// Writes all that is in front of the data. `keys` are written as they are; tensors begin at multiples of `alignment`, of which
    /// `general.alignment` must say the same.
    pub fn begin(
        out: W,
        keys: &[(&str, Value<'_>)],
        tensors: &[NewTensor<'_>],
        alignment: u64,
    ) -> io::Result<Writer<W>> {
        let mut head = b"GGUF".to_vec();
        head.extend(VERSION.to_le_bytes());
        head.extend((tensors.len() as u64).to_le_bytes());
        head.extend((keys.len() as u64).to_le_bytes());
        for (name, value) in keys {
            key(&mut head, name, value);
        }
        let mut offset = 0u64;
        for tensor in tensors {
            string(&mut head, tensor.name.as_bytes());
            head.extend((tensor.dims.len() as u32).to_le_bytes());
            tensor.dims.iter().for_each(|dim| head.extend(dim.to_le_bytes()));
            head.extend(tensor.kind.to_le_bytes());
            head.extend(offset.to_le_bytes());
            offset = (offset + tensor.bytes).next_multiple_of(alignment);
        }
        let sizes = tensors.iter().rev().map(|tensor| tensor.bytes).collect();
        let mut writer = Writer { out, sizes, alignment, written: 0 };
        writer.write(&head)?;
        Ok(writer)
    }

    /// Writes the next tensor's data.
    ///
    /// # Errors
    /// Where the data are not as many bytes as the table says.
    pub fn tensor(&mut self, data: &[u8]) -> io::Result<()> {
        match self.sizes.pop() {
            Some(size) if size == data.len() as u64 => self.write(data),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// Hands back what was written to.
    ///
    /// # Errors
    /// Where tensors are missing.
    pub fn finish(self) -> io::Result<W> {
        if self.sizes.is_empty() { Ok(self.out) } else { Err(io::ErrorKind::InvalidData.into()) }
    }

    /// Writes bytes and fills up to the alignment.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        const ZEROS: [u8; 64] = [0; 64];
        self.out.write_all(bytes)?;
        self.written += bytes.len() as u64;
        let mut missing = (self.written.next_multiple_of(self.alignment) - self.written) as usize;
        self.written += missing as u64;
        while missing > 0 {
            let zeros = &ZEROS[..missing.min(ZEROS.len())];
            self.out.write_all(zeros)?;
            missing -= zeros.len();
        }
        Ok(())
    }
}

/// Appends a key and its value.
pub(super) fn key(out: &mut Vec<u8>, key: &str, value: &Value<'_>) {
    string(out, key.as_bytes());
    out.extend((value.value_type() as u32).to_le_bytes());
    put(out, value);
}

fn put(out: &mut Vec<u8>, value: &Value<'_>) {
    match value {
        Value::U8(x) => out.extend(x.to_le_bytes()),
        Value::I8(x) => out.extend(x.to_le_bytes()),
        Value::U16(x) => out.extend(x.to_le_bytes()),
        Value::I16(x) => out.extend(x.to_le_bytes()),
        Value::U32(x) => out.extend(x.to_le_bytes()),
        Value::I32(x) => out.extend(x.to_le_bytes()),
        Value::U64(x) => out.extend(x.to_le_bytes()),
        Value::I64(x) => out.extend(x.to_le_bytes()),
        Value::F32(x) => out.extend(x.to_le_bytes()),
        Value::F64(x) => out.extend(x.to_le_bytes()),
        Value::Bool(x) => out.push(u8::from(*x)),
        Value::Str(bytes) => string(out, bytes),
        Value::Array(array) => {
            out.extend((array.element as u32).to_le_bytes());
            out.extend((array.count as u64).to_le_bytes());
            out.extend(array.bytes);
        }
    }
}

fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend((bytes.len() as u64).to_le_bytes());
    out.extend(bytes);
}
