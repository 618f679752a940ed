//! Metadata values as they are read out of the mapped file: numbers by value, strings and arrays as views.
//! Views are checked when the file is opened, so that reading them cannot fail.

use std::fmt;

use super::reader::Reader;

/// The type of a metadata value. The numbers are GGUF's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
#[allow(missing_docs)]
pub enum ValueType {
    U8 = 0,
    I8 = 1,
    U16 = 2,
    I16 = 3,
    U32 = 4,
    I32 = 5,
    F32 = 6,
    Bool = 7,
    Str = 8,
    Array = 9,
    U64 = 10,
    I64 = 11,
    F64 = 12,
}

/// A metadata value.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs)]
pub enum Value<'a> {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    /// Bytes, since the tokens of byte-level vocabularies need not be UTF-8.
    Str(&'a [u8]),
    Array(Array<'a>),
    U64(u64),
    I64(i64),
    F64(f64),
}

/// A metadata array, still encoded: its elements are decoded one by one as they are asked for.
#[derive(Debug, Clone, Copy)]
pub struct Array<'a> {
    pub(super) element: ValueType,
    pub(super) count: usize,
    pub(super) bytes: &'a [u8],
}

/// The elements of an [`Array`], in order.
#[derive(Debug, Clone)]
pub struct Values<'a> {
    reader: Reader<'a>,
    element: ValueType,
    left: usize,
}

/// The strings of an [`Array`] of strings, in order, as bytes.
#[derive(Debug, Clone)]
pub struct Strings<'a>(Values<'a>);

impl ValueType {
    const ALL: [ValueType; 13] = {
        use ValueType::*;
        [U8, I8, U16, I16, U32, I32, F32, Bool, Str, Array, U64, I64, F64]
    };

    /// The type with GGUF's number `id`.
    pub fn from_id(id: u32) -> Option<ValueType> {
        ValueType::ALL.get(id as usize).copied()
    }

    /// The type's name, as in `u32`.
    pub fn name(self) -> &'static str {
        const NAMES: [&str; 13] =
            ["u8", "i8", "u16", "i16", "u32", "i32", "f32", "bool", "string", "array", "u64", "i64", "f64"];
        NAMES[self as usize]
    }

    /// The fewest bytes that a value takes in the file.
    pub(super) fn least_bytes(self) -> u64 {
        const BYTES: [u64; 13] = [1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8];
        BYTES[self as usize]
    }
}

impl<'a> Value<'a> {
    /// The value's type; that of an array's elements is [`Array::element_type`].
    pub fn value_type(&self) -> ValueType {
        match self {
            Value::U8(_) => ValueType::U8,
            Value::I8(_) => ValueType::I8,
            Value::U16(_) => ValueType::U16,
            Value::I16(_) => ValueType::I16,
            Value::U32(_) => ValueType::U32,
            Value::I32(_) => ValueType::I32,
            Value::F32(_) => ValueType::F32,
            Value::Bool(_) => ValueType::Bool,
            Value::Str(_) => ValueType::Str,
            Value::Array(_) => ValueType::Array,
            Value::U64(_) => ValueType::U64,
            Value::I64(_) => ValueType::I64,
            Value::F64(_) => ValueType::F64,
        }
    }

    /// The type as a person says it: `u32`, `array of string`.
    pub fn type_name(&self) -> String {
        match self {
            Value::Array(array) => format!("array of {}", array.element.name()),
            other => other.value_type().name().into(),
        }
    }

    /// The value of any integer type.
    pub fn integer(&self) -> Option<i128> {
        match *self {
            Value::U8(n) => Some(n.into()),
            Value::I8(n) => Some(n.into()),
            Value::U16(n) => Some(n.into()),
            Value::I16(n) => Some(n.into()),
            Value::U32(n) => Some(n.into()),
            Value::I32(n) => Some(n.into()),
            Value::U64(n) => Some(n.into()),
            Value::I64(n) => Some(n.into()),
            _ => None,
        }
    }

    /// The value of an f32, or of an f64 rounded to f32; none if it was finite and no longer is.
    pub fn float(&self) -> Option<f32> {
        match *self {
            Value::F32(x) => Some(x),
            Value::F64(x) => Some(x as f32).filter(|y| y.is_finite() || !x.is_finite()),
            _ => None,
        }
    }

    /// The value of a string that is UTF-8.
    pub fn str(&self) -> Option<&'a str> {
        match *self {
            Value::Str(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }
}

impl<'a> Array<'a> {
    /// The type of every element.
    pub fn element_type(&self) -> ValueType {
        self.element
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The elements, in order.
    pub fn iter(&self) -> Values<'a> {
        Values { reader: Reader::new(self.bytes), element: self.element, left: self.count }
    }

    /// The elements as bytes, if they are strings.
    pub fn strings(&self) -> Option<Strings<'a>> {
        (self.element == ValueType::Str).then(|| Strings(self.iter()))
    }
}

impl<'a> Iterator for Values<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        self.left = self.left.checked_sub(1)?;
        self.reader.scalar(self.element).ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<'a> Iterator for Strings<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        match self.0.next()? {
            Value::Str(bytes) => Some(bytes),
            _ => None,
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl ExactSizeIterator for Values<'_> {}
impl ExactSizeIterator for Strings<'_> {}

/// Short enough for one line: strings are quoted and cut after 64 characters, arrays after 8 elements.
impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Bool(x) => write!(f, "{x}"),
            Value::F32(x) => write!(f, "{x:?}"),
            Value::F64(x) => write!(f, "{x:?}"),
            Value::Str(bytes) => {
                // 64 characters take 256 bytes at most.
                let start = String::from_utf8_lossy(&bytes[..bytes.len().min(256)]);
                let shown: String = start.chars().take(64).collect();
                match bytes.len() > 256 || start.chars().count() > 64 {
                    true => write!(f, "{shown:?}… ({} bytes)", bytes.len()),
                    false => write!(f, "{shown:?}"),
                }
            }
            Value::Array(array) => {
                write!(f, "[")?;
                for (i, value) in array.iter().take(8).enumerate() {
                    write!(f, "{}{value}", if i > 0 { ", " } else { "" })?;
                }
                match array.len() {
                    0..=8 => write!(f, "]"),
                    len => write!(f, ", … ({len})]"),
                }
            }
            whole => write!(f, "{}", whole.integer().unwrap_or_default()),
        }
    }
}
