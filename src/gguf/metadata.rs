//! The metadata of a file: keys in the file's order, values decoded as they are asked for.

use std::collections::HashMap;

use crate::error::{Error, Result};
use crate::gguf::part::Bytes;
use crate::gguf::reader::Reader;
use crate::gguf::value::{Array, Strings, Value, ValueType};

/// Keys and values. Every value was checked when the file was opened.
#[derive(Debug)]
pub struct Metadata {
    bytes: Bytes,
    entries: Vec<Entry>,
    by_key: HashMap<String, usize>,
}

#[derive(Debug)]
struct Entry {
    key: String,
    /// Where the value is in the file, behind its type.
    at: usize,
    kind: ValueType,
    /// The element type, the count and the length in bytes of an array's elements.
    array: Option<(ValueType, usize, usize)>,
}

impl Metadata {
    /// Reads `count` keys and values.
    pub(super) fn read(bytes: Bytes, reader: &mut Reader<'_>, count: u64) -> Result<Metadata, String> {
        // A key takes 13 bytes at least: its length, one character, the value's type and a byte.
        if count > reader.left() / 13 {
            return Err(format!(
                "the header promises {count} keys, the file has {} bytes for them",
                reader.left()
            ));
        }
        let mut entries: Vec<Entry> = Vec::new();
        let mut by_key = HashMap::new();
        for number in 0..count {
            let last = entries.last().map_or("the header", |e| e.key.as_str());
            let key = reader.string().map_err(|e| format!("key {number}, after {last}, {e}"))?;
            let key = match std::str::from_utf8(key) {
                Ok("") => return Err(format!("key {number}, after {last}, is empty")),
                Ok(key) => key.to_string(),
                Err(_) => return Err(format!("key {number}, after {last}, is not UTF-8")),
            };
            let entry = entry(reader, &key).map_err(|e| format!("key {key} {e}"))?;
            if by_key.insert(key.clone(), entries.len()).is_some() {
                return Err(format!("key {key} is there twice"));
            }
            entries.push(entry);
        }
        Ok(Metadata { bytes, entries, by_key })
    }

    fn value(&self, entry: &Entry) -> Value<'_> {
        let bytes = &self.bytes[entry.at..];
        match entry.array {
            Some((element, count, length)) => Value::Array(Array { element, count, bytes: &bytes[..length] }),
            // It was read once when the file was opened.
            None => Reader::new(bytes).scalar(entry.kind).unwrap_or(Value::U8(0)),
        }
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<Value<'_>> {
        self.by_key.get(key).map(|&at| self.value(&self.entries[at]))
    }

    /// All keys and values, in the file's order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, Value<'_>)> {
        self.entries.iter().map(|e| (e.key.as_str(), self.value(e)))
    }

    fn typed<'a, T>(
        &'a self,
        key: &str,
        expected: &str,
        take: impl Fn(Value<'a>) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let found = value.type_name();
        match take(value) {
            Some(taken) => Ok(Some(taken)),
            None => {
                let shown = if found.starts_with("array") { String::new() } else { format!(" ({value})") };
                Err(Error::Model(format!("key {key} is {found}{shown}, expected {expected}")))
            }
        }
    }

    /// A string.
    pub fn str(&self, key: &str) -> Result<Option<&str>> {
        self.typed(key, "a string in UTF-8", |v| v.str())
    }

    /// A bool.
    pub fn bool(&self, key: &str) -> Result<Option<bool>> {
        self.typed(key, "a bool", |v| if let Value::Bool(b) = v { Some(b) } else { None })
    }

    /// An integer of any type that fits into a u32.
    pub fn u32(&self, key: &str) -> Result<Option<u32>> {
        self.typed(key, "an integer below 2^32", |v| v.integer().and_then(|n| n.try_into().ok()))
    }

    /// An f32, or an f64 that an f32 holds.
    pub fn f32(&self, key: &str) -> Result<Option<f32>> {
        self.typed(key, "an f32", |v| v.float())
    }

    /// An array of strings.
    pub fn strings(&self, key: &str) -> Result<Option<Strings<'_>>> {
        self.typed(key, "an array of strings", |v| if let Value::Array(a) = v { a.strings() } else { None })
    }

    /// An array of floats.
    pub fn f32s(&self, key: &str) -> Result<Option<Vec<f32>>> {
        self.list(key, "an array of f32", |v| v.float())
    }

    /// An array of integers that fit into i32.
    pub fn i32s(&self, key: &str) -> Result<Option<Vec<i32>>> {
        self.list(key, "an array of i32", |v| v.integer().and_then(|n| n.try_into().ok()))
    }

    /// An array of integers that fit into u32.
    pub fn u32s(&self, key: &str) -> Result<Option<Vec<u32>>> {
        self.list(key, "an array of u32", |v| v.integer().and_then(|n| n.try_into().ok()))
    }

    fn list<T>(
        &self,
        key: &str,
        expected: &str,
        take: impl Fn(Value<'_>) -> Option<T>,
    ) -> Result<Option<Vec<T>>> {
        self.typed(
            key,
            expected,
            |v| if let Value::Array(a) = v { a.iter().map(&take).collect() } else { None },
        )
    }

    /// A string that must be there.
    pub fn need_str(&self, key: &str) -> Result<&str> {
        self.str(key)?.ok_or_else(|| missing(key))
    }

    /// An integer that must be there.
    pub fn need_u32(&self, key: &str) -> Result<u32> {
        self.u32(key)?.ok_or_else(|| missing(key))
    }

    /// A float that must be there.
    pub fn need_f32(&self, key: &str) -> Result<f32> {
        self.f32(key)?.ok_or_else(|| missing(key))
    }
}

fn missing(key: &str) -> Error {
    Error::Model(format!("key {key} is missing"))
}

/// Reads the type and the value of a key, and checks every element of an array by walking over it.
fn entry(reader: &mut Reader<'_>, key: &str) -> Result<Entry, String> {
    let kind = value_type(reader)?;
    let (at, mut array) = (reader.position(), None);
    if kind != ValueType::Array {
        reader.scalar(kind)?;
        return Ok(Entry { key: key.into(), at, kind, array });
    }
    let element = value_type(reader)?;
    let count = reader.u64()?;
    if count > MAX_ARRAY || count.saturating_mul(element.least_bytes()) > reader.left() {
        return Err(format!(
            "promises {count} elements of {}, the file has {} bytes left",
            element.name(),
            reader.left()
        ));
    }
    let start = reader.position();
    match element {
        // Strings have lengths to follow, bools values to check; numbers are all alike.
        ValueType::Str | ValueType::Bool | ValueType::Array => {
            for i in 0..count {
                reader.scalar(element).map_err(|e| format!("element {i} {e}"))?;
            }
        }
        _ => drop(reader.take(count * element.least_bytes())?),
    }
    array.replace((element, count as usize, reader.position() - start));
    Ok(Entry { key: key.into(), at: start, kind, array })
}

/// The longest array that is believed, as in llama.cpp.
const MAX_ARRAY: u64 = 1 << 30;

fn value_type(reader: &mut Reader<'_>) -> Result<ValueType, String> {
    let id = reader.u32()?;
    ValueType::from_id(id).ok_or_else(|| format!("has a value of type {id}, known are 0 to 12"))
}
