//! Values as Python writes them, by `str` and by `repr`: what a template prints of a list, an object or a float.

use minijinja::value::ValueKind;
use minijinja::{Error, ErrorKind, State, Value};

/// Lists in lists that are written; beyond that a template is broken.
pub(super) const MAX_DEPTH: usize = 200;

/// Python's `str` of a value, paid for with fuel. `keep`: characters that are never escaped.
pub(super) fn str(state: &State, value: &Value, keep: impl Fn(char) -> bool) -> Result<String, Error> {
    let mut writer = Writer { out: String::new(), room: room(state), keep };
    match value.as_str() {
        Some(text) => writer.push(text)?,
        None if value.is_undefined() => {}
        None => writer.repr(value, 0)?,
    }
    pay(state, &writer.out)?;
    Ok(writer.out)
}

/// The bytes that a text made of a value may have. A value may hold itself many times over: its text is bounded before it is made.
pub(super) fn room(state: &State) -> usize {
    state.fuel_levels().map_or(usize::MAX, |(_, left)| (left as usize).saturating_mul(4))
}

/// Pays for a text that was made of a value.
pub(super) fn pay(state: &State, text: &str) -> Result<(), Error> {
    state.consume_fuel(text.len() as u64 / 4)
}

/// Whether the engine writes a value in another way than Python does.
pub(super) fn differs(value: &Value) -> bool {
    match value.kind() {
        ValueKind::Number => !value.is_integer(),
        kind => matches!(kind, ValueKind::Seq | ValueKind::Iterable | ValueKind::Map),
    }
}

struct Writer<K> {
    out: String,
    room: usize,
    keep: K,
}

impl<K: Fn(char) -> bool> Writer<K> {
    fn push(&mut self, text: &str) -> Result<(), Error> {
        self.room = self.room.checked_sub(text.len()).ok_or(ErrorKind::OutOfFuel)?;
        self.out.push_str(text);
        Ok(())
    }

    fn repr(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        if depth > MAX_DEPTH {
            let what = format!("a value is nested more than {MAX_DEPTH} levels deep");
            return Err(Error::new(ErrorKind::InvalidOperation, what));
        }
        match value.kind() {
            ValueKind::Undefined => self.push("Undefined"),
            ValueKind::String => self.quoted(value.as_str().unwrap_or_default()),
            ValueKind::Number => match f64::try_from(value.clone()) {
                Ok(x) if !value.is_integer() => self.push(&float(x)),
                _ => self.push(&value.to_string()),
            },
            ValueKind::Seq | ValueKind::Iterable => {
                let (open, close) = if value.is_tuple() { ("(", ")") } else { ("[", "]") };
                self.push(open)?;
                let mut count = 0;
                for item in value.try_iter()? {
                    self.push(if count > 0 { ", " } else { "" })?;
                    self.repr(&item, depth + 1)?;
                    count += 1;
                }
                self.push(if count == 1 && value.is_tuple() { "," } else { "" })?;
                self.push(close)
            }
            ValueKind::Map => {
                self.push("{")?;
                for (i, key) in value.try_iter()?.enumerate() {
                    self.push(if i > 0 { ", " } else { "" })?;
                    self.repr(&key, depth + 1)?;
                    self.push(": ")?;
                    self.repr(&value.get_item(&key)?, depth + 1)?;
                }
                self.push("}")
            }
            _ => self.push(&value.to_string()),
        }
    }

    /// A text between quotes: double ones if it holds single ones alone.
    fn quoted(&mut self, text: &str) -> Result<(), Error> {
        let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
        let mut quoted = String::with_capacity(text.len() + 2);
        quoted.push(quote);
        for c in text.chars() {
            match c {
                '\n' => quoted.push_str("\\n"),
                '\r' => quoted.push_str("\\r"),
                '\t' => quoted.push_str("\\t"),
                '\\' => quoted.push_str("\\\\"),
                c if c == quote => quoted.extend(['\\', c]),
                c if is_printable(c) || (self.keep)(c) => quoted.push(c),
                c => quoted.push_str(&match c as u32 {
                    code @ ..0x100 => format!("\\x{code:02x}"),
                    code @ ..0x10000 => format!("\\u{code:04x}"),
                    code => format!("\\U{code:08x}"),
                }),
            }
        }
        quoted.push(quote);
        self.push(&quoted)
    }
}

/// Python's `isprintable`: neither a control nor unassigned nor white space but for the space itself. Rust's escapes go by the same
/// categories, behind the first character of a text.
pub(super) fn is_printable(c: char) -> bool {
    match c {
        ' '..='~' => true,
        '\0'..='\u{9F}' => false,
        _ => ['a', c].iter().collect::<String>().escape_debug().nth(1) != Some('\\'),
    }
}

/// Python's `repr` of a float: the shortest digits, with an exponent below 1e-4 and from 1e16 on.
pub(super) fn float(x: f64) -> String {
    if !x.is_finite() {
        return x.to_string().to_lowercase();
    }
    let text = format!("{x:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    match exponent.parse::<i32>() {
        Ok(exponent) if !(-4..16).contains(&exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.abs())
        }
        _ => format!("{x:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::float;

    #[test]
    fn floats_are_written_as_python_writes_them() {
        let cases = [
            (1.0, "1.0"),
            (-0.0, "-0.0"),
            (0.1, "0.1"),
            (1e-4, "0.0001"),
            (1.5e-5, "1.5e-05"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.25e100, "1.25e+100"),
            (5e-324, "5e-324"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
        ];
        for (x, expected) in cases {
            assert_eq!(float(x), expected);
        }
    }
}
