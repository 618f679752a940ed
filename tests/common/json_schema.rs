//! Whether a value is valid by a JSON schema: the keywords that the tests' schemas have, by the specification (2020-12), and nothing of
//! what makes the answers.
#![allow(dead_code)] // Each test binary uses its own share of this.

use serde_json::Value;

/// What is wrong with a value, by a schema.
pub fn fault(value: &Value, schema: &Value) -> Option<String> {
    fault_at(value, schema, schema, "$").err()
}

fn fault_at(value: &Value, schema: &Value, root: &Value, at: &str) -> Result<(), String> {
    let members = match schema {
        Value::Bool(true) => return Ok(()),
        Value::Object(members) => members,
        _ => return Err(format!("{at}: nothing is valid here")),
    };
    for (keyword, wanted) in members {
        keyword_at(keyword, value, wanted, schema, root, at)?;
    }
    Ok(())
}

fn keyword_at(
    keyword: &str,
    value: &Value,
    wanted: &Value,
    schema: &Value,
    root: &Value,
    at: &str,
) -> Result<(), String> {
    let must =
        |holds: bool| if holds { Ok(()) } else { Err(format!("{at}: {value} against {keyword} {wanted}")) };
    let bound = wanted.as_f64().unwrap_or(f64::NAN);
    let count = |has: usize, least: bool| {
        let limit = wanted.as_u64().unwrap_or_default() as usize;
        must(if least { has >= limit } else { has <= limit })
    };
    let valid = |value: &Value, schema: &Value| fault_at(value, schema, root, at).is_ok();
    let of = |schemas: &Value| schemas.as_array().into_iter().flatten().filter(|s| valid(value, s)).count();
    match keyword {
        "type" => must(match wanted {
            Value::Array(kinds) => kinds.iter().any(|kind| is_a(value, kind)),
            kind => is_a(value, kind),
        }),
        "enum" => must(wanted.as_array().is_some_and(|all| all.contains(value))),
        "const" => must(value == wanted),
        "anyOf" => must(of(wanted) > 0),
        "oneOf" => must(of(wanted) == 1),
        "allOf" => must(of(wanted) == wanted.as_array().map_or(0, Vec::len)),
        "$ref" => {
            let place = wanted.as_str().and_then(|text| root.pointer(text.strip_prefix('#')?));
            fault_at(value, place.ok_or_else(|| format!("{at}: no {wanted}"))?, root, at)
        }
        "minimum" => value.as_f64().map_or(Ok(()), |n| must(n >= bound)),
        "maximum" => value.as_f64().map_or(Ok(()), |n| must(n <= bound)),
        "exclusiveMinimum" => value.as_f64().map_or(Ok(()), |n| must(n > bound)),
        "exclusiveMaximum" => value.as_f64().map_or(Ok(()), |n| must(n < bound)),
        "multipleOf" => {
            value.as_f64().map_or(Ok(()), |n| must(((n / bound).round() * bound - n).abs() < 1e-9))
        }
        "minLength" => value.as_str().map_or(Ok(()), |text| count(text.chars().count(), true)),
        "maxLength" => value.as_str().map_or(Ok(()), |text| count(text.chars().count(), false)),
        "pattern" => value.as_str().map_or(Ok(()), |text| {
            let pattern =
                regex::Regex::new(wanted.as_str().unwrap_or_default()).map_err(|e| e.to_string())?;
            must(pattern.is_match(text))
        }),
        "minItems" => value.as_array().map_or(Ok(()), |items| count(items.len(), true)),
        "maxItems" => value.as_array().map_or(Ok(()), |items| count(items.len(), false)),
        "prefixItems" => {
            let pairs = value.as_array().into_iter().flatten().zip(wanted.as_array().into_iter().flatten());
            pairs
                .enumerate()
                .try_for_each(|(i, (item, wanted))| fault_at(item, wanted, root, &format!("{at}[{i}]")))
        }
        "items" => {
            let skipped = schema["prefixItems"].as_array().map_or(0, Vec::len);
            let mut items = value.as_array().into_iter().flatten().enumerate().skip(skipped);
            items.try_for_each(|(i, item)| fault_at(item, wanted, root, &format!("{at}[{i}]")))
        }
        "required" => {
            let has = |name: &Value| name.as_str().is_some_and(|name| value.get(name).is_some());
            must(!value.is_object() || wanted.as_array().is_some_and(|names| names.iter().all(has)))
        }
        "properties" => {
            let known = |name: &str| wanted.get(name);
            let mut members = value.as_object().into_iter().flatten();
            members.try_for_each(|(name, member)| match known(name) {
                Some(wanted) => fault_at(member, wanted, root, &format!("{at}.{name}")),
                None => Ok(()),
            })
        }
        "additionalProperties" => {
            let more = |(name, _): &(&String, &Value)| schema["properties"].get(name.as_str()).is_none();
            let mut members = value.as_object().into_iter().flatten().filter(more);
            members.try_for_each(|(name, member)| fault_at(member, wanted, root, &format!("{at}.{name}")))
        }
        "format" if wanted == "date" => value.as_str().map_or(Ok(()), |text| {
            let date = regex::Regex::new("^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$")
                .map_err(|e| e.to_string())?;
            must(date.is_match(text))
        }),
        "$defs" | "definitions" | "title" | "description" => Ok(()),
        _ => Err(format!("{at}: the tests do not know {keyword}")),
    }
}

fn is_a(value: &Value, kind: &Value) -> bool {
    match kind.as_str().unwrap_or_default() {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "number" => value.is_number(),
        "integer" => value.as_f64().is_some_and(|n| n.fract() == 0.0),
        _ => false,
    }
}
