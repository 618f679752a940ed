//! JSON schemas: how answers are written, and what is wrong with a schema, and where.

use std::time::{Duration, Instant};

use llguidance::JsonCompileOptions;
use serde_json::{Map, Value};

use super::Language;
use super::bounds::LEAST;
use crate::error::{Error, Result};

/// White space between the parts of an answer: a blank, or up to two lines and their indentation. Models that may write as much as
/// they like write nothing else.
const SPACE: &str = r"\x20|\n{1,2}[\x20\t]{0,20}";

/// Where llguidance reads its options.
const OPTIONS: &str = "x-guidance";

/// Keywords that count.
const COUNTS: [&str; 6] =
    ["minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"];

/// Keywords of lower bounds.
const LOWER: [&str; 2] = ["minimum", "exclusiveMinimum"];

/// How long a fault is looked for.
const PATIENCE: Duration = Duration::from_millis(500);

/// The schema, and how answers to it are written.
pub fn with_options(schema: &Value) -> Value {
    let Value::Object(members) = schema else {
        return match schema {
            Value::Bool(true) => with_options(&Value::Object(Map::new())),
            _ => schema.clone(),
        };
    };
    let mut members = members.clone();
    members.shift_remove(OPTIONS);
    let mut schema = Value::Object(members);
    count(&mut schema);
    let options = JsonCompileOptions { whitespace_pattern: Some(SPACE.into()), ..Default::default() };
    options.apply_to(&mut schema);
    schema
}

/// Writes whole numbers that count something without a point, as they are read, and bounds below those of 64 bits as the least of these.
fn count(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            for (key, member) in members {
                match member.as_f64() {
                    Some(n)
                        if COUNTS.contains(&key.as_str()) && n.fract() == 0.0 && (0.0..9e15).contains(&n) =>
                    {
                        *member = (n as u64).into();
                    }
                    Some(n) if LOWER.contains(&key.as_str()) && n < LEAST as f64 => *member = LEAST.into(),
                    _ => count(member),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(count),
        _ => {}
    }
}

/// A parser of a schema, or its fault; `parser` makes one, or says what is wrong.
pub fn check<P>(schema: &Value, parser: &dyn Fn(&Language) -> Result<P, String>) -> Result<P> {
    if !matches!(schema, Value::Object(_) | Value::Bool(_)) {
        return Err(Error::Usage("is no object, and a schema is one".into()));
    }
    let what = match parser(&Language::JsonSchema(schema.clone())) {
        Ok(parser) => return Ok(parser),
        Err(what) => what,
    };
    let search = Search { root: schema, parser, until: Instant::now() + PATIENCE };
    let (at, what) = search.deepest(schema, String::new(), what);
    Err(Error::Usage(match at.is_empty() {
        true => what,
        false => format!("{what} (at {at})"),
    }))
}

/// The search for the smallest subschema that has a fault.
struct Search<'s, P> {
    root: &'s Value,
    parser: &'s dyn Fn(&Language) -> Result<P, String>,
    until: Instant,
}

impl<P> Search<'_, P> {
    /// Where the fault of `schema` is, which is at `at`, and what it is.
    fn deepest(&self, schema: &Value, at: String, what: String) -> (String, String) {
        for (place, child) in children(schema) {
            if Instant::now() > self.until {
                break;
            }
            if let Err(found) = (self.parser)(&Language::JsonSchema(self.alone(child)))
                // What it refers to may be missing only because it is taken out.
                && (!found.contains("Reference") || what.contains("Reference"))
            {
                return self.deepest(child, format!("{at}/{place}"), found);
            }
        }
        (at, what)
    }

    /// A subschema with the definitions that it may refer to.
    fn alone(&self, schema: &Value) -> Value {
        let mut schema = schema.clone();
        if let Some(members) = schema.as_object_mut() {
            for name in ["$defs", "definitions"] {
                if let Some(definitions) = self.root.get(name) {
                    members.entry(name).or_insert_with(|| definitions.clone());
                }
            }
        }
        schema
    }
}

/// The schemas in a schema, each with its place: definitions first, since others refer to them.
fn children(schema: &Value) -> Vec<(String, &Value)> {
    let escaped = |key: &str| key.replace('~', "~0").replace('/', "~1");
    let mut found = Vec::new();
    for name in ["$defs", "definitions", "properties", "patternProperties"] {
        for (key, child) in schema.get(name).and_then(Value::as_object).into_iter().flatten() {
            found.push((format!("{name}/{}", escaped(key)), child));
        }
    }
    for name in ["prefixItems", "anyOf", "oneOf", "allOf"] {
        for (i, child) in schema.get(name).and_then(Value::as_array).into_iter().flatten().enumerate() {
            found.push((format!("{name}/{i}"), child));
        }
    }
    for name in ["items", "additionalItems", "additionalProperties"] {
        found.extend(schema.get(name).filter(|child| child.is_object()).map(|child| (name.into(), child)));
    }
    found
}
