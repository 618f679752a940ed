//! What a request may hold, as its types say it. The schemas that clients are shown are the ones that their requests are held to, so that
//! neither can say what the other does not.

use std::any::TypeId;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};

use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::{PartialSchema, ToSchema};

use super::failure::Failure;
use super::fields::wrong;

/// What clients require and this server never has: `null`.
#[derive(Clone, Copy, Serialize)]
pub struct Never;

impl ToSchema for Never {}

impl PartialSchema for Never {
    fn schema() -> RefOr<utoipa::openapi::Schema> {
        ObjectBuilder::new().schema_type(Type::Null).into()
    }
}

/// The schema of a type, and of those that it refers to by name.
#[derive(Debug)]
pub struct Schema {
    root: Value,
    named: Map<String, Value>,
}

/// Where schemas find each other.
const NAMED: &str = "#/components/schemas/";

impl Schema {
    /// That of a type, which is made once.
    pub fn of<T: ToSchema + 'static>() -> Arc<Schema> {
        static ALL: LazyLock<Mutex<HashMap<TypeId, Arc<Schema>>>> = LazyLock::new(Mutex::default);
        let make = || {
            let mut named = Vec::new();
            T::schemas(&mut named);
            let named = named.into_iter().map(|(name, schema)| (name, json!(schema))).collect();
            Arc::new(Schema { root: json!(T::schema()), named })
        };
        match ALL.lock() {
            Ok(mut all) => all.entry(TypeId::of::<T>()).or_insert_with(make).clone(),
            Err(_) => make(),
        }
    }

    /// The schema itself.
    pub fn root(&self) -> &Value {
        &self.root
    }

    /// The schemas that it refers to.
    pub fn named(&self) -> &Map<String, Value> {
        &self.named
    }

    /// Names of its members.
    pub fn members(&self) -> impl Iterator<Item = &String> {
        self.root["properties"].as_object().into_iter().flat_map(Map::keys)
    }

    /// Holds a value to it; `name` is what an error calls it. Whole numbers that are written with a point lose it.
    pub fn check(&self, name: &str, value: &mut Value) -> Result<(), Failure> {
        self.hold(&self.root, name, value)
    }

    fn hold(&self, schema: &Value, name: &str, value: &mut Value) -> Result<(), Failure> {
        if let Some(named) = self.referred(schema) {
            return self.hold(named, name, value);
        }
        for part in list(schema, "allOf") {
            self.hold(part, name, value)?;
        }
        let variants: Vec<&Value> = list(schema, "oneOf").chain(list(schema, "anyOf")).collect();
        if !variants.is_empty() {
            return self.hold_one(&variants, name, value);
        }
        let kinds = self.kinds(schema);
        if !kinds.is_empty() && !kinds.iter().any(|kind| is(value, kind)) {
            return Err(wrong(name, &told(&kinds), value));
        }
        if let Some(allowed) = schema["enum"].as_array().filter(|allowed| !allowed.contains(value)) {
            return Err(Failure::field(name, format!("is {value}, expected {}", choice(allowed))));
        }
        match value {
            Value::Number(_) => hold_number(schema, kinds.contains(&"integer"), name, value),
            Value::Array(items) => {
                let count = items.len() as u64;
                if let Some(most) = schema["maxItems"].as_u64().filter(|most| count > *most) {
                    return Err(Failure::field(
                        name,
                        format!("is a list of {count}, expected {most} at most"),
                    ));
                }
                if let Some(least) = schema["minItems"].as_u64().filter(|least| count < *least) {
                    return Err(Failure::field(
                        name,
                        format!("is a list of {count}, expected {least} at least"),
                    ));
                }
                let each = &schema["items"];
                let mut items = items.iter_mut().enumerate();
                items.try_for_each(|(i, item)| self.hold(each, &format!("{name}[{i}]"), item))
            }
            Value::Object(map) => self.hold_object(schema, name, map),
            _ => Ok(()),
        }
    }

    /// Holds a value to one of several schemas, or to that which it comes closest to.
    fn hold_one(&self, variants: &[&Value], name: &str, value: &mut Value) -> Result<(), Failure> {
        // A schema that says nothing takes everything.
        let fits = |variant: &Value| {
            let kinds = self.kinds(variant);
            kinds.iter().any(|kind| is(value, kind)) || (kinds.is_empty() && variant["type"] != "null")
        };
        let of_kind: Vec<&Value> = variants.iter().copied().filter(|variant| fits(variant)).collect();
        if of_kind.is_empty() {
            let kinds: Vec<&str> = variants.iter().flat_map(|variant| self.kinds(variant)).collect();
            return Err(wrong(name, &told(&kinds), value));
        }
        // A variant says what it is by a member of one value.
        let (mut tag, mut tags) = ("", Vec::new());
        let mut of_tag = Vec::new();
        for variant in &of_kind {
            match self.tag(variant) {
                Some((key, values)) => {
                    let given = value.get(key).filter(|given| !given.is_null());
                    if given.map_or(!self.requires(variant, key), |given| values.contains(given)) {
                        of_tag.push(*variant);
                    }
                    (tag, tags) = (key, [tags, values].concat());
                }
                None => of_tag.push(*variant),
            }
        }
        if of_tag.is_empty() {
            let name = below(name, tag);
            return Err(match value.get(tag).filter(|given| !given.is_null()) {
                Some(given) => Failure::unsupported(name, format!("is {given}, expected {}", choice(&tags))),
                None => Failure::field(name, format!("is required: {}", choice(&tags))),
            });
        }
        let mut closest: Option<Failure> = None;
        for variant in of_tag {
            let mut copy = value.clone();
            match self.hold(variant, name, &mut copy) {
                Ok(()) => {
                    *value = copy;
                    return Ok(());
                }
                Err(failure) if closest.as_ref().is_none_or(|c| c.depth() < failure.depth()) => {
                    closest = Some(failure);
                }
                Err(_) => {}
            }
        }
        closest.map_or(Ok(()), Err)
    }

    fn hold_object(&self, schema: &Value, name: &str, map: &mut Map<String, Value>) -> Result<(), Failure> {
        for (key, value) in map.iter_mut().filter(|(_, value)| !value.is_null()) {
            let member = &schema["properties"][key];
            let member = if member.is_null() { &schema["additionalProperties"] } else { member };
            self.hold(member, &below(name, key), value)?;
        }
        for key in list(schema, "required").filter_map(Value::as_str) {
            if map.get(key).is_none_or(Value::is_null) {
                let what = format!("is required: {}", told(&self.kinds(&schema["properties"][key])));
                return Err(Failure::field(below(name, key), what));
            }
        }
        Ok(())
    }

    fn referred(&self, schema: &Value) -> Option<&Value> {
        self.named.get(schema["$ref"].as_str()?.strip_prefix(NAMED)?)
    }

    /// JSON's types that a value may have, but for null; none where it may have any.
    fn kinds<'s>(&'s self, schema: &'s Value) -> Vec<&'s str> {
        if let Some(named) = self.referred(schema) {
            return self.kinds(named);
        }
        let own = schema["type"].as_str().into_iter().chain(list(schema, "type").filter_map(Value::as_str));
        let of = ["oneOf", "anyOf", "allOf"].into_iter().flat_map(|key| list(schema, key));
        own.filter(|kind| *kind != "null").chain(of.flat_map(|schema| self.kinds(schema))).collect()
    }

    /// The member by which a schema says what it is, and its values.
    fn tag<'s>(&'s self, schema: &'s Value) -> Option<(&'s str, Vec<Value>)> {
        if let Some(named) = self.referred(schema) {
            return self.tag(named);
        }
        if let Some(found) = list(schema, "allOf").find_map(|part| self.tag(part)) {
            return Some(found);
        }
        let values = |member: &'s Value| -> Option<Vec<Value>> {
            let member = self.referred(member).unwrap_or(member);
            let of = list(member, "oneOf").filter_map(|variant| self.referred(variant)).next();
            of.unwrap_or(member)["enum"].as_array().cloned()
        };
        Some(("type", values(&schema["properties"]["type"])?))
    }

    fn requires(&self, schema: &Value, key: &str) -> bool {
        let schema = self.referred(schema).unwrap_or(schema);
        list(schema, "required").any(|name| name == key)
            || list(schema, "allOf").any(|part| self.requires(part, key))
    }
}

fn hold_number(schema: &Value, whole: bool, name: &str, value: &mut Value) -> Result<(), Failure> {
    let number = value.as_f64().unwrap_or_default();
    let (least, mut most) = (&schema["minimum"], &schema["maximum"]);
    // What the number is read into.
    let fits_format = if least.as_f64() >= Some(0.0) { json!(u32::MAX) } else { json!(i32::MAX) };
    if most.is_null() && schema["format"] == "int32" {
        most = &fits_format;
    }
    let fits = least.as_f64().is_none_or(|least| number >= least)
        && most.as_f64().is_none_or(|most| number <= most)
        && (!whole || number.fract() == 0.0);
    if !fits {
        let what = if whole { "a whole number" } else { "a number" };
        let range = match (least.is_null(), most.is_null()) {
            (false, false) => format!(" from {least} to {most}"),
            (false, true) => format!(" of {least} at least"),
            (true, false) => format!(" of {most} at most"),
            (true, true) => String::new(),
        };
        return Err(Failure::field(name, format!("is {value}, expected {what}{range}")));
    }
    if whole {
        // All whole numbers up to here are themselves in f64.
        let is_signed = least.as_f64().is_none_or(|least| least < 0.0);
        let is_read = if value.is_f64() { number.abs() < 9e15 } else { value.is_i64() || !is_signed };
        if !is_read {
            return Err(Failure::field(name, format!("is {value}, which is too large")));
        }
        if value.is_f64() {
            *value = (number as i64).into();
        }
    }
    Ok(())
}

fn list<'s>(schema: &'s Value, key: &str) -> impl Iterator<Item = &'s Value> {
    schema[key].as_array().into_iter().flatten()
}

fn is(value: &Value, kind: &str) -> bool {
    match kind {
        "boolean" => value.is_boolean(),
        "integer" | "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    }
}

/// What a value should be, for people.
fn told(kinds: &[&str]) -> String {
    let mut words = Vec::new();
    for kind in kinds {
        let word = match *kind {
            "boolean" => "true or false",
            "integer" => "a whole number",
            "number" => "a number",
            "string" => "a string",
            "array" => "a list",
            _ => "an object",
        };
        if !words.contains(&word) {
            words.push(word);
        }
    }
    if words.is_empty() { "a value".into() } else { words.join(" or ") }
}

fn choice(values: &[Value]) -> String {
    let words: Vec<String> = values.iter().map(|v| v.as_str().map_or(v.to_string(), str::to_owned)).collect();
    words.join(", ")
}

fn below(name: &str, key: &str) -> String {
    if name.is_empty() { key.into() } else { format!("{name}.{key}") }
}
