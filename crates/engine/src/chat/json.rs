//! JSON as Python's `json.dumps` writes it, which is what models saw of tools and calls in training: keys in their order,
//! a space behind commas and colons, characters of all languages as they are.

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};

use super::repr::MAX_DEPTH;
use super::{python, repr};

/// The filter `tojson` with the arguments that Hugging Face gives it. `keep`: characters that are never escaped.
pub(super) fn tojson(
    state: &State,
    value: &Value,
    ensure_ascii: Option<bool>,
    args: &Kwargs,
    keep: impl Fn(char) -> bool,
) -> Result<String, Error> {
    let ensure_ascii = match ensure_ascii {
        Some(given) => given,
        None => args.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false),
    };
    let indent = match args.get::<Option<Value>>("indent")? {
        Some(indent) if !indent.is_none() => Some(match indent.as_str() {
            Some(text) => text.to_owned(),
            // More than a line is wide is no indent but an attack.
            None => " ".repeat(usize::try_from(indent).unwrap_or(0).min(128)),
        }),
        _ => None,
    };
    let separators: Option<Vec<String>> = args.get("separators")?;
    let (comma, colon) = match separators.as_deref() {
        Some([comma, colon]) => (comma.clone(), colon.clone()),
        Some(_) => return Err(Error::new(ErrorKind::InvalidOperation, "tojson takes two separators")),
        None => (if indent.is_some() { "," } else { ", " }.to_owned(), ": ".to_owned()),
    };
    let sort_keys = args.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    args.assert_all_used()?;
    let room = repr::room(state);
    let mut writer = Writer { out: String::new(), room, indent, comma, colon, sort_keys, ensure_ascii, keep };
    writer.value(value, 0)?;
    repr::pay(state, &writer.out)?;
    Ok(writer.out)
}

/// A value as `json.dumps` writes it that is told nothing else but to leave characters as they are.
pub(super) fn dumps(value: &serde_json::Value) -> String {
    let (comma, colon) = (", ".to_owned(), ": ".to_owned());
    let (out, room, keep) = (String::new(), usize::MAX, |_| false);
    let mut writer =
        Writer { out, room, indent: None, comma, colon, sort_keys: false, ensure_ascii: false, keep };
    match writer.value(&python::value(value.clone()), 0) {
        Ok(()) => writer.out,
        // Nested deeper than any template writes.
        Err(_) => value.to_string(),
    }
}

struct Writer<K> {
    out: String,
    room: usize,
    indent: Option<String>,
    comma: String,
    colon: String,
    sort_keys: bool,
    ensure_ascii: bool,
    keep: K,
}

impl<K: Fn(char) -> bool> Writer<K> {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        if self.out.len() > self.room {
            return Err(ErrorKind::OutOfFuel.into());
        }
        if depth > MAX_DEPTH {
            return Err(refused(format!("a value is nested more than {MAX_DEPTH} levels deep")));
        }
        match value.kind() {
            ValueKind::None => self.out.push_str("null"),
            ValueKind::Bool => self.out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => self.out.push_str(&number(value)),
            ValueKind::String => self.string(value.as_str().unwrap_or_default()),
            ValueKind::Seq | ValueKind::Iterable => {
                let items = value.try_iter()?;
                self.list('[', ']', depth, items, |writer, item| writer.value(&item, depth + 1))?;
            }
            ValueKind::Map => {
                let mut keys: Vec<Value> = value.try_iter()?.collect();
                if self.sort_keys {
                    keys.sort();
                }
                self.list('{', '}', depth, keys.into_iter(), |writer, key| {
                    match key.as_str() {
                        Some(key) => writer.string(key),
                        None => {
                            let mut text = String::new();
                            std::mem::swap(&mut text, &mut writer.out);
                            writer.value(&key, depth + 1)?;
                            std::mem::swap(&mut text, &mut writer.out);
                            writer.string(&text);
                        }
                    }
                    writer.out.push_str(&writer.colon);
                    writer.value(&value.get_item(&key)?, depth + 1)
                })?;
            }
            kind => return Err(refused(format!("{kind} is nothing that JSON can hold"))),
        }
        Ok(())
    }

    fn list(
        &mut self,
        open: char,
        close: char,
        depth: usize,
        items: impl Iterator<Item = Value>,
        mut write: impl FnMut(&mut Self, Value) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.out.push(open);
        let mut first = true;
        for item in items {
            if !first {
                self.out.push_str(&self.comma);
            }
            first = false;
            self.line(depth + 1);
            write(self, item)?;
        }
        if !first {
            self.line(depth);
        }
        self.out.push(close);
        Ok(())
    }

    fn line(&mut self, depth: usize) {
        if let Some(indent) = &self.indent {
            self.out.push('\n');
            (0..depth).for_each(|_| self.out.push_str(indent));
        }
    }

    fn string(&mut self, text: &str) {
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\u{8}' => self.out.push_str("\\b"),
                '\u{c}' => self.out.push_str("\\f"),
                c if c < ' ' || (self.ensure_ascii && !(' '..='~').contains(&c) && !(self.keep)(c)) => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        self.out.push_str(&format!("\\u{unit:04x}"));
                    }
                }
                c => self.out.push(c),
            }
        }
        self.out.push('"');
    }
}

/// A number as Python writes it.
fn number(value: &Value) -> String {
    match f64::try_from(value.clone()) {
        Ok(x) if x.is_nan() => "NaN".into(),
        Ok(x) if x.is_infinite() => if x > 0.0 { "Infinity" } else { "-Infinity" }.into(),
        Ok(x) if !value.is_integer() => repr::float(x),
        _ => value.to_string(),
    }
}

fn refused(what: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, format!("tojson: {what}"))
}
