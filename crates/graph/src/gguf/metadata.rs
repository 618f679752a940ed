//! The metadata of a file: keys in the file's order, values decoded as they are asked for.

use std::borrow::Cow;

use crate::error::{Error, Result};
use crate::gguf::part::Bytes;
use crate::gguf::reader::Reader;
use crate::gguf::shown;
use crate::gguf::value::{Array, Strings, Value, ValueType};

/// Keys and values. Every value was checked when the file was opened.
#[derive(Debug)]
pub struct Metadata {
    bytes: Bytes,
    entries: Vec<Entry>,
    /// Places in `entries` by rising key: no second copy of keys that may be long.
    by_key: Vec<usize>,
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

/// Models have some dozens of keys; the bound keeps the table's memory small.
const MAX_KEYS: u64 = 1 << 16;
/// Bytes of a key, as in the GGUF specification.
const MAX_KEY: usize = (1 << 16) - 1;
/// The longest array that is believed, as in llama.cpp.
const MAX_ARRAY: u64 = 1 << 30;

impl Metadata {
    /// No keys.
    pub(super) fn none() -> Metadata {
        Metadata { bytes: Bytes::Static(&[]), entries: Vec::new(), by_key: Vec::new() }
    }

    /// Reads `count` keys and values.
    pub(super) fn read(bytes: Bytes, reader: &mut Reader<'_>, count: u64) -> Result<Metadata, String> {
        // A key takes 14 bytes at least: its length, one character, the value's type and a byte.
        let room = (reader.left() / 14).min(MAX_KEYS);
        if count > room {
            return Err(format!("the header promises {count} keys, there is room for {room} at most"));
        }
        let mut entries: Vec<Entry> = Vec::new();
        for number in 0..count {
            let key = key(reader).map_err(|e| {
                let last = entries.last().map_or("the header".into(), |e| shown(&e.key));
                format!("key {number}, after {last}, {e}")
            })?;
            entries.push(entry(reader, &key).map_err(|e| format!("key {} {e}", shown(&key)))?);
        }
        let mut by_key: Vec<usize> = (0..entries.len()).collect();
        by_key.sort_unstable_by_key(|&at| entries[at].key.as_str());
        match by_key.windows(2).find(|pair| entries[pair[0]].key == entries[pair[1]].key) {
            Some(pair) => Err(format!("key {} is there twice", shown(&entries[pair[0]].key))),
            None => Ok(Metadata { bytes, entries, by_key }),
        }
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
        let place = self.by_key.binary_search_by_key(&key, |&at| &self.entries[at].key).ok()?;
        Some(self.value(&self.entries[self.by_key[place]]))
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
                let value = if found.starts_with("array") { String::new() } else { format!(" ({value})") };
                Err(Error::Model(format!("key {} is {found}{value}, expected {expected}", shown(key))))
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
    Error::Model(format!("key {} is missing", shown(key)))
}

/// Reads a key. One that is not UTF-8 is none that anybody asks for: it is kept with its bytes shown, and stops nothing.
fn key<'a>(reader: &mut Reader<'a>) -> Result<Cow<'a, str>, String> {
    let key = reader.string()?;
    if key.is_empty() || key.len() > MAX_KEY {
        return Err(format!("has {} bytes, expected 1 to {MAX_KEY}", key.len()));
    }
    Ok(std::str::from_utf8(key).map_or_else(|_| key.escape_ascii().to_string().into(), Cow::Borrowed))
}

/// Reads the type and the value of a key, and checks every element of an array by walking over it.
fn entry(reader: &mut Reader<'_>, key: &str) -> Result<Entry, String> {
    let kind = value_type(reader)?;
    let (at, key) = (reader.position(), key.to_string());
    if kind != ValueType::Array {
        reader.scalar(kind)?;
        return Ok(Entry { key, at, kind, array: None });
    }
    let element = value_type(reader)?;
    let count = reader.u64()?;
    let (at, left) = (reader.position(), reader.left());
    if count > MAX_ARRAY || count * element.least_bytes() > left {
        let element = element.name();
        return Err(format!("promises {count} elements of type {element}, the file has {left} bytes left"));
    }
    match element {
        ValueType::Array => return Err("is an array of arrays, which GGUF readers do not accept".into()),
        // Strings have lengths to follow, bools values to check; numbers are all alike.
        ValueType::Str | ValueType::Bool => {
            for i in 0..count {
                reader.scalar(element).map_err(|e| format!("element {i} {e}"))?;
            }
        }
        _ => drop(reader.take(count * element.least_bytes())?),
    }
    Ok(Entry { key, at, kind, array: Some((element, count as usize, reader.position() - at)) })
}

fn value_type(reader: &mut Reader<'_>) -> Result<ValueType, String> {
    let id = reader.u32()?;
    ValueType::from_id(id).ok_or_else(|| format!("has a value of type {id}, known are 0 to 12"))
}
