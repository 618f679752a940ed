//! A cursor over a file's bytes that gives GGUF's little-endian numbers and strings, and never reads past the end.
//! It says where the bytes ran out; which key or tensor that was is for the caller to add.

use super::value::{Value, ValueType};

/// The longest string that is believed, as in llama.cpp.
const MAX_STRING: u64 = 1 << 30;

#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Reader { bytes, at: 0 }
    }

    /// All bytes, read or not.
    pub(super) fn all(&self) -> &'a [u8] {
        self.bytes
    }

    /// Bytes read so far.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// Bytes not yet read.
    pub(super) fn left(&self) -> u64 {
        (self.bytes.len() - self.at) as u64
    }

    pub(super) fn take(&mut self, count: u64) -> Result<&'a [u8], String> {
        if count > self.left() {
            return Err(format!("needs {count} bytes from byte {}, the file has {}", self.at, self.left()));
        }
        let start = self.at;
        self.at += count as usize;
        Ok(&self.bytes[start..self.at])
    }

    pub(super) fn u32(&mut self) -> Result<u32, String> {
        self.number().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, String> {
        self.number().map(u64::from_le_bytes)
    }

    /// A string: its length as u64, then as many bytes, in any encoding.
    pub(super) fn string(&mut self) -> Result<&'a [u8], String> {
        let length = self.u64()?;
        if length > MAX_STRING {
            return Err(format!("has a string of {length} bytes, at most {MAX_STRING} are allowed"));
        }
        self.take(length)
    }

    /// A value of any type but array.
    pub(super) fn scalar(&mut self, kind: ValueType) -> Result<Value<'a>, String> {
        Ok(match kind {
            ValueType::U8 => Value::U8(self.number().map(u8::from_le_bytes)?),
            ValueType::I8 => Value::I8(self.number().map(i8::from_le_bytes)?),
            ValueType::U16 => Value::U16(self.number().map(u16::from_le_bytes)?),
            ValueType::I16 => Value::I16(self.number().map(i16::from_le_bytes)?),
            ValueType::U32 => Value::U32(self.u32()?),
            ValueType::I32 => Value::I32(self.number().map(i32::from_le_bytes)?),
            ValueType::F32 => Value::F32(self.number().map(f32::from_le_bytes)?),
            ValueType::U64 => Value::U64(self.u64()?),
            ValueType::I64 => Value::I64(self.number().map(i64::from_le_bytes)?),
            ValueType::F64 => Value::F64(self.number().map(f64::from_le_bytes)?),
            ValueType::Str => Value::Str(self.string()?),
            ValueType::Bool => match self.number().map(u8::from_le_bytes)? {
                0 => Value::Bool(false),
                1 => Value::Bool(true),
                other => return Err(format!("has a bool of {other}, expected 0 or 1")),
            },
            ValueType::Array => return Err("is an array where a single value is expected".into()),
        })
    }

    fn number<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut number = [0; N];
        number.copy_from_slice(self.take(N as u64)?);
        Ok(number)
    }
}
