//! What llguidance cannot be asked for: it goes down with languages that are too deep, and takes some numbers for others. A panic in it
//! would be the end of the process, so that all of it is refused in front of it, or given the stack that it takes.

use std::collections::HashSet;
use std::thread;

use serde_json::{Deserializer, Value};

use super::Language;
use super::schema::with_options;

/// Bytes of a grammar's text at most, and how deep its brackets may be: what reads it goes down with them.
const MOST_TEXT: usize = 256 << 10;
const MOST_BRACKETS: usize = 64;

/// Levels at most, of rules that name others and of schemas that refer to others: each of them is one below the other in the worst case.
const MOST_LEVELS: usize = 50_000;
/// Bytes of stack for each of them, and for what is there in any case.
const LEVEL: usize = 6 << 10;
const BOTTOM: usize = 1 << 20;
/// So many fit any thread's stack.
const FEW_LEVELS: usize = 64;

/// Schemas in a schema at most, and members of an object and of all of them; for each of eight members there is a level. What it takes
/// grows with the square of an object's members.
const MOST_SCHEMAS: usize = 50_000;
const MOST_MEMBERS: usize = 5_000;
const MOST_OF_ALL: usize = 30_000;
const MEMBERS_OF_LEVEL: usize = 8;
/// Values that are looked at to find how deep a schema is.
const MOST_LOOKS: usize = 10_000_000;

/// Symbols of a grammar at most, which are numbers of 16 bits.
pub const MOST_SYMBOLS: usize = 65_000;

/// Where i64 ends. What lies beyond is negated and overflows.
const EDGE: f64 = 9_223_372_036_854_775_808.0;
/// The least number that is written in the place of those below.
pub const LEAST: i64 = -9_223_372_036_854_774_784;

/// Divisors up to this are looked for among all remainders, larger ones only where next to nothing but 2s and 5s is in them.
const MOST_DIVISOR: u64 = 100_000;
const MOST_ODD_DIVISOR: u64 = 100;

/// How many levels reading a language goes down at most.
///
/// # Errors
/// Says what is too much in it.
pub fn levels(language: &Language) -> Result<usize, String> {
    let levels = match language {
        Language::JsonSchema(schema) => of_schema(&with_options(schema))?,
        Language::Regex(text) => of_text(text).map(|()| 0)?,
        Language::Lark(text) => of_text(text).and_then(|()| of_lark(text))?,
    };
    match levels > MOST_LEVELS {
        true => Err(format!("goes down {levels} levels, {MOST_LEVELS} are the most")),
        false => Ok(levels),
    }
}

/// Does what goes down so many levels on a stack that has room for them.
pub fn on_stack<T: Send>(
    levels: usize,
    work: impl FnOnce() -> Result<T, String> + Send,
) -> Result<T, String> {
    if levels <= FEW_LEVELS {
        return work();
    }
    thread::scope(|scope| {
        let deep = thread::Builder::new().stack_size(BOTTOM + levels * LEVEL);
        let deep = deep.spawn_scoped(scope, work);
        let deep =
            deep.map_err(|e| format!("goes down {levels} levels, and there is no stack for it: {e}"))?;
        deep.join().unwrap_or_else(|_| Err("cannot be understood".into()))
    })
}

fn of_text(text: &str) -> Result<(), String> {
    if text.len() > MOST_TEXT {
        return Err(format!("has {} bytes, {MOST_TEXT} are the most", text.len()));
    }
    let (mut depth, mut deepest) = (0usize, 0);
    for byte in text.bytes() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    match deepest > MOST_BRACKETS {
        true => Err(format!("has brackets in {deepest} levels, {MOST_BRACKETS} are the most")),
        false => Ok(()),
    }
}

/// Each rule may name the next one, from within brackets and negations.
fn of_lark(text: &str) -> Result<usize, String> {
    if has_parameters(text) {
        return Err("has rules with parameters (::), which are not supported".into());
    }
    let mut levels = text.bytes().filter(|byte| b":([{~!".contains(byte)).count();
    for schema in behind("%json", text) {
        levels += of_schema(&schema)?;
    }
    for asked in behind("%regex", text) {
        let chunks = asked["substring_chunks"].as_array();
        if chunks.into_iter().flatten().any(|chunk| chunk == "") {
            return Err("substring_chunks has an empty text in it".into());
        }
    }
    Ok(levels)
}

/// Whether `::` stands outside of texts, regular expressions, special tokens and comments. llguidance's optimiser asserts that rules with
/// parameters pass these on unchanged, which nobody has to.
fn has_parameters(text: &str) -> bool {
    let mut rest = text.as_bytes();
    let until = |rest: &[u8], end: u8| {
        let (mut at, mut escaped) = (1, false);
        while at < rest.len() && (escaped || rest[at] != end) {
            escaped = !escaped && rest[at] == b'\\';
            at += 1;
        }
        at + 1
    };
    while let Some(&first) = rest.first() {
        let skipped = match first {
            b':' if rest.starts_with(b"::") => return true,
            b'"' => until(rest, b'"'),
            b'#' => rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len()),
            b'/' if rest.starts_with(b"//") => {
                rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len())
            }
            b'/' => until(rest, b'/'),
            b'<' => {
                let ends = |byte: &u8| b"<>".contains(byte) || byte.is_ascii_whitespace();
                rest[1..].iter().position(ends).map_or(1, |at| if rest[at + 1] == b'>' { at + 2 } else { 1 })
            }
            _ => 1,
        };
        rest = rest.get(skipped..).unwrap_or_default();
    }
    false
}

/// The JSON that follows a word.
fn behind<'t>(word: &'t str, text: &'t str) -> impl Iterator<Item = Value> + 't {
    let read = |at: usize| Deserializer::from_str(&text[at..]).into_iter().next()?.ok();
    text.match_indices(word).filter_map(move |(at, _)| read(at + word.len()))
}

fn of_schema(root: &Value) -> Result<usize, String> {
    let mut schemas = Schemas { root, looks: 0, members: 0, multiples: Vec::new(), is_merged: false };
    let mut levels = schemas.height(root)?;
    let (mut seen, mut named) = (HashSet::new(), HashSet::new());
    let mut waiting = vec![root];
    while let Some(schema) = waiting.pop() {
        if !seen.insert(std::ptr::from_ref(schema)) {
            continue;
        }
        if seen.len() > MOST_SCHEMAS {
            return Err(format!("has more than {MOST_SCHEMAS} schemas in it"));
        }
        schemas.keywords(schema)?;
        waiting.extend(subschemas(schema));
        let reference = schema.get("$ref").and_then(Value::as_str);
        if let Some(target) = reference.filter(|r| named.insert(*r)).and_then(|r| schemas.target(r)) {
            levels += schemas.height(target)?;
            waiting.push(target);
        }
        if levels > MOST_LEVELS {
            return Err(format!("refers to schemas in more than {MOST_LEVELS} levels"));
        }
    }
    schemas.multiples()?;
    Ok(levels + schemas.members / MEMBERS_OF_LEVEL)
}

/// The schemas that stand in a schema.
fn subschemas(schema: &Value) -> impl Iterator<Item = &Value> {
    let named = ["properties", "patternProperties"].into_iter();
    let named = named.filter_map(|key| schema.get(key)?.as_object()).flat_map(|all| all.values());
    let listed = ["prefixItems", "anyOf", "oneOf", "allOf", "items"].into_iter();
    let listed = listed.filter_map(|key| schema.get(key)?.as_array()).flatten();
    let one = ["items", "additionalItems", "additionalProperties"].into_iter();
    named.chain(listed).chain(one.filter_map(|key| schema.get(key).filter(|child| child.is_object())))
}

/// What is found out about a schema and those in it.
struct Schemas<'s> {
    root: &'s Value,
    looks: usize,
    members: usize,
    multiples: Vec<Divisor>,
    /// Whether one schema may be added to another, so that their divisors meet.
    is_merged: bool,
}

impl<'s> Schemas<'s> {
    /// How deep a value is.
    fn height(&mut self, value: &Value) -> Result<usize, String> {
        self.looks += 1;
        if self.looks > MOST_LOOKS {
            return Err(format!("has more than {MOST_LOOKS} values in what it refers to"));
        }
        let mut deepest = 0;
        match value {
            Value::Array(items) => {
                for item in items {
                    deepest = self.height(item)?.max(deepest);
                }
            }
            Value::Object(members) => {
                for member in members.values() {
                    deepest = self.height(member)?.max(deepest);
                }
            }
            _ => {}
        }
        Ok(deepest + 1)
    }

    /// What a reference leads to, as llguidance follows it.
    fn target(&self, reference: &str) -> Option<&'s Value> {
        let path = match reference {
            "#" | "#/" => return Some(self.root),
            _ => reference.strip_prefix("#/")?,
        };
        path.split('/').try_fold(self.root, |at, step| match at {
            Value::Array(items) => items.get(step.parse::<usize>().ok()?),
            _ => at.get(step),
        })
    }

    /// What is wrong with what a schema says itself.
    fn keywords(&mut self, schema: &Value) -> Result<(), String> {
        for (key, value) in schema.as_object().into_iter().flatten() {
            let fits = match key.as_str() {
                "properties" | "patternProperties" => value.is_object(),
                "prefixItems" => value.is_array(),
                "pattern" | "format" | "$ref" => value.is_string(),
                "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" | "multipleOf"
                | "minLength" | "maxLength" | "minItems" | "maxItems" | "minProperties" | "maxProperties" => {
                    value.is_number()
                }
                "required" => {
                    !value.as_array().into_iter().flatten().any(|name| !name.is_string() && is_cut(name))
                }
                _ => true,
            };
            if !fits && is_cut(value) {
                return Err(format!("{key} has a value of the wrong type"));
            }
            let number = value.as_f64().unwrap_or_default();
            match key.as_str() {
                "properties" => self.count(value.as_object().map_or(0, serde_json::Map::len))?,
                "required" => self.count(value.as_array().map_or(0, Vec::len))?,
                "const" | "enum" => self.constant(value)?,
                "minimum" | "exclusiveMinimum" if number.abs() >= EDGE => return Err(beyond(key, value)),
                "maximum" | "exclusiveMaximum" if number <= -EDGE => return Err(beyond(key, value)),
                "multipleOf" => self.multiples.extend(Divisor::of(number.abs())),
                "allOf" | "anyOf" | "oneOf" | "$ref" | "patternProperties" => self.is_merged = true,
                _ => {}
            }
        }
        Ok(())
    }

    fn count(&mut self, members: usize) -> Result<(), String> {
        self.members += members;
        if members > MOST_MEMBERS {
            return Err(format!("names {members} members, {MOST_MEMBERS} are the most"));
        }
        match self.members > MOST_OF_ALL {
            true => Err(format!("names more than {MOST_OF_ALL} members in all its objects")),
            false => Ok(()),
        }
    }

    /// A value that an answer must have.
    fn constant(&mut self, value: &Value) -> Result<(), String> {
        match value {
            Value::Number(n) if n.as_f64().is_none_or(|n| n.abs() >= EDGE) => {
                Err(beyond("a constant", value))
            }
            Value::Array(items) => items.iter().try_for_each(|item| self.constant(item)),
            Value::Object(members) => {
                self.count(members.len())?;
                members.values().try_for_each(|member| self.constant(member))
            }
            _ => Ok(()),
        }
    }

    /// Whether all divisors, and their least common multiples where they may meet, are such as can be kept to.
    fn multiples(&self) -> Result<(), String> {
        let mut all: Option<Divisor> = None;
        for divisor in &self.multiples {
            divisor.check()?;
            all = Some(match all {
                Some(before) if self.is_merged => before.common(*divisor)?,
                _ => *divisor,
            });
        }
        all.map_or(Ok(()), |all| all.check())
    }
}

/// Whether llguidance, which quotes the first 100 bytes of what has the wrong type, would cut a letter in two.
fn is_cut(value: &Value) -> bool {
    let text = value.to_string();
    text.len() > 100 && !text.is_char_boundary(100)
}

fn beyond(what: &str, value: &Value) -> String {
    format!("{what} is {value}, which is beyond what fits 64 bits")
}

/// A number that others are multiples of: digits, and how many of them are behind the point.
#[derive(Clone, Copy)]
struct Divisor {
    digits: u64,
    places: u32,
}

impl Divisor {
    /// None where llguidance says itself that it is too long.
    fn of(mut number: f64) -> Option<Divisor> {
        let mut places = 0;
        while number.fract() != 0.0 {
            (number, places) = (number * 10.0, places + 1);
        }
        (number <= f64::from(u32::MAX)).then(|| Divisor { digits: number as u64, places }.shortened())
    }

    fn shortened(mut self) -> Divisor {
        while self.places > 0 && self.digits.is_multiple_of(10) {
            (self.digits, self.places) = (self.digits / 10, self.places - 1);
        }
        self
    }

    fn common(self, other: Divisor) -> Result<Divisor, String> {
        let places = self.places.max(other.places);
        let scaled = |d: Divisor| d.digits.checked_mul(10u64.checked_pow(places - d.places)?);
        let (a, b) = scaled(self).zip(scaled(other)).ok_or("multipleOf has too many digits")?;
        let digits = if a == 0 || b == 0 { Some(0) } else { (a / gcd(a, b)).checked_mul(b) };
        let digits = digits.ok_or("multipleOf, of several together, has too many digits")?;
        Ok(Divisor { digits, places })
    }

    /// It computes with remainders in 32 bits, and looks at each of them.
    fn check(self) -> Result<(), String> {
        let Divisor { digits, places } = self;
        let next = 10u64
            .checked_pow(places)
            .and_then(|one| one.checked_mul(9)?.checked_add(digits.checked_mul(10)?));
        let fits = next.is_some_and(|next| next <= u64::from(u32::MAX));
        let is_quick = digits <= MOST_DIVISOR || digits / gcd(digits, 1_000_000_000) <= MOST_ODD_DIVISOR;
        match fits && is_quick {
            true => Ok(()),
            false => Err("multipleOf has too many digits, alone or together with another".into()),
        }
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}
