//! `/openapi.json`: that everything is in it, and that it holds what the server sends.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::adapters::Target;
use crate::client::{get, ok};
use crate::server::{Plan, Running};
use crate::{Outcome, equal, must};

pub fn document() -> Outcome {
    let server = Running::ready(&Target::cpu(), Plan::default())?;
    let document = get(server.address, "/openapi.json")?.json()?;
    equal(&document["openapi"], &json!("3.1.0"))?;
    let paths = document["paths"].as_object().ok_or("no paths")?;
    // Whatever is documented is there, by the method that it is documented with and by no other.
    for (path, operations) in paths {
        let at = path.replace("{name}", "story");
        let asked = get(server.address, &at)?.status;
        let expected = if operations.get("get").is_some() { 200 } else { 405 };
        must(asked == expected, || format!("{path} is documented and answers {asked}"))?;
    }
    // Whatever README promises is documented.
    for path in [
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/responses",
        "/v1/messages",
        "/v1/messages/count_tokens",
        "/v1/models",
        "/health",
        "/ready",
        "/metrics",
        "/props",
        "/tokenize",
        "/detokenize",
        "/apply-template",
        "/openapi.json",
        "/",
    ] {
        must(paths.contains_key(path), || format!("{path} is not documented"))?;
    }
    // Each reference leads somewhere, and each schema is referred to.
    let (mut referred, schemas) = (BTreeSet::new(), &document["components"]["schemas"]);
    references(&document, &mut referred);
    for name in &referred {
        must(schemas.get(name).is_some(), || format!("there is no schema {name}"))?;
    }
    for name in schemas.as_object().into_iter().flatten().map(|(name, _)| name) {
        must(referred.contains(name.as_str()), || format!("nobody refers to {name}"))?;
    }

    let messages = json!([{ "role": "user", "content": "a" }]);
    let asked = json!({ "messages": messages, "max_tokens": 4, "logprobs": true, "top_logprobs": 2 });
    let chat = ok(server.address, "/v1/chat/completions", &asked)?;
    fits(schemas, &json!({ "$ref": "#/components/schemas/ChatCompletion" }), &chat, "chat")?;
    let text = ok(
        server.address,
        "/v1/completions",
        &json!({ "prompt": "Once", "max_tokens": 4, "logprobs": 2, "n": 2 }),
    )?;
    fits(schemas, &json!({ "$ref": "#/components/schemas/Completion" }), &text, "completion")?;
    let response = ok(server.address, "/v1/responses", &json!({ "input": "a", "max_output_tokens": 4 }))?;
    fits(schemas, &json!({ "$ref": "#/components/schemas/Response" }), &response, "response")?;
    let message = ok(server.address, "/v1/messages", &json!({ "messages": messages, "max_tokens": 4 }))?;
    fits(schemas, &json!({ "$ref": "#/components/schemas/AnthropicMessage" }), &message, "message")?;
    for (path, name) in [("/props", "Props"), ("/v1/models", "Models"), ("/ready", "Readiness")] {
        let schema = json!({ "$ref": format!("#/components/schemas/{name}") });
        fits(schemas, &schema, &get(server.address, path)?.json()?, path)?;
    }
    let error = get(server.address, "/v1/models/another")?.json()?;
    fits(schemas, &json!({ "$ref": "#/components/schemas/Error" }), &error, "error")
}

fn references<'d>(value: &'d Value, all: &mut BTreeSet<&'d str>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| references(item, all)),
        Value::Object(map) => {
            let name = map.get("$ref").and_then(Value::as_str);
            all.extend(name.and_then(|name| name.strip_prefix("#/components/schemas/")));
            map.values().for_each(|value| references(value, all));
        }
        _ => {}
    }
}

/// Whether a value has everything that its schema requires, and nothing that the schema does not know.
fn fits(schemas: &Value, schema: &Value, value: &Value, name: &str) -> Outcome {
    if let Some(reference) = schema["$ref"].as_str() {
        let of = reference.rsplit('/').next().unwrap_or_default();
        return fits(schemas, &schemas[of], value, name);
    }
    let list = |key: &str| schema[key].as_array().cloned().unwrap_or_default();
    let variants = [list("oneOf"), list("anyOf")].concat();
    if !variants.is_empty() {
        let any = variants.iter().any(|variant| fits(schemas, variant, value, name).is_ok());
        return must(any, || format!("{name}: {value} is none of {variants:?}"));
    }
    let parts = list("allOf");
    if !parts.is_empty() {
        // What one part does not know may be another's.
        let known = |key: &String| parts.iter().any(|part| member(schemas, part, key).is_some());
        let map = value.as_object().ok_or_else(|| format!("{name} is no object"))?;
        return must(map.keys().all(known), || format!("{name}: {value} has more than {parts:?}"));
    }
    let kinds = match &schema["type"] {
        Value::String(kind) => vec![kind.clone()],
        Value::Array(kinds) => kinds.iter().filter_map(|k| k.as_str().map(str::to_owned)).collect(),
        _ => return Ok(()),
    };
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let fits_kind = kinds.iter().any(|k| k == kind || (k == "number" && kind == "integer"));
    must(fits_kind, || format!("{name}: {value} is {kind}, not {kinds:?}"))?;
    match value {
        Value::Array(items) => {
            items.iter().try_for_each(|item| fits(schemas, &schema["items"], item, &format!("{name}[]")))
        }
        Value::Object(map) if schema.get("properties").is_some() => {
            for key in list("required") {
                must(key.as_str().is_some_and(|key| map.contains_key(key)), || {
                    format!("{name} has no {key}")
                })?;
            }
            for (key, value) in map {
                let of = schema["properties"].get(key);
                let of = of.ok_or_else(|| format!("{name}.{key} is not documented"))?;
                fits(schemas, of, value, &format!("{name}.{key}"))?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn member<'s>(schemas: &'s Value, schema: &'s Value, key: &str) -> Option<&'s Value> {
    let schema = match schema["$ref"].as_str() {
        Some(reference) => &schemas[reference.rsplit('/').next()?],
        None => schema,
    };
    schema["properties"].get(key)
}
