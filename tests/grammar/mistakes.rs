//! Schemas and grammars that cannot be kept to.

use libtest_mimic::Failed;
use serde_json::{Map, Value, json};
use wgllm::Error;
use wgllm::gguf::Gguf;
use wgllm::grammar::{Grammars, Language};
use wgllm::tokenizer::Tokenizer;

use crate::demands::{contains, must};
use crate::{Outcome, byte_model};

/// Of a vocabulary of bytes.
pub fn grammars() -> Result<Grammars, Failed> {
    let file = byte_model::file(&[], 64).bytes();
    let tokenizer = Tokenizer::of(&Gguf::from_static("bytes", file.leak())?)?.ok_or("no tokenizer")?;
    Ok(Grammars::new(&tokenizer)?)
}

/// What is said of a language.
fn told(grammars: &Grammars, language: Language) -> Result<String, Failed> {
    match grammars.check(&language) {
        Ok(()) => Err(format!("{language:?} is taken").into()),
        Err(error) => Ok(error.to_string()),
    }
}

pub fn schemas() -> Outcome {
    let grammars = grammars()?;
    let inside = |schema: Value| json!({ "type": "object", "properties": { "a/b": { "type": "array", "items": schema } } });
    for (schema, parts) in [
        (json!(7), vec!["schema"]),
        (json!(false), vec![]),
        (json!({ "type": "strange" }), vec!["strange"]),
        (inside(json!({ "type": "strange" })), vec!["strange", "(at /properties/a~1b/items)"]),
        (inside(json!({ "type": "string", "pattern": "(" })), vec!["(at /properties/a~1b/items)"]),
        (inside(json!({ "not": { "type": "string" } })), vec!["not", "(at /properties/a~1b/items)"]),
        (inside(json!({ "$ref": "#/$defs/none" })), vec!["none"]),
        (inside(json!({ "$ref": "https://example.com/schema" })), vec!["https://example.com/schema", "#/"]),
        (json!({ "$ref": "#" }), vec!["no token"]),
        (json!({ "type": "array", "minItems": 1.5 }), vec!["minItems"]),
        (json!({ "$ref": "#/$defs/x", "$defs": { "x": { "enum": 7 } } }), vec!["enum", "(at /$defs/x)"]),
        (json!({ "type": "integer", "minimum": 5, "maximum": 4 }), vec!["5", "4"]),
        (json!({ "oneOf": [{ "type": "integer" }, { "type": "number" }] }), vec!["oneOf"]),
        (json!({ "type": "string", "minLength": 1e15 }), vec![]),
    ] {
        let message = told(&grammars, Language::JsonSchema(schema.clone()))?;
        for part in parts {
            contains(&message, part).map_err(|e| format!("{schema}: {}", e.message().unwrap_or_default()))?;
        }
        must(!message.contains('\u{1b}') && message.len() < 600 && !message.contains("<state>"), || {
            message.clone()
        })?;
    }
    // What cannot change an answer is taken.
    for schema in [
        json!(true),
        json!({}),
        json!({ "title": "T", "x-guidance": { "lenient": true } }),
        json!({ "examples": [1] }),
        json!({ "anyOf": [{ "type": "array", "minItems": 1.0, "maxItems": 2e0 }] }),
    ] {
        grammars.check(&Language::JsonSchema(schema))?;
    }
    // What shows only on the way to be too much is the schema's fault, too.
    let multiple =
        json!({ "type": "integer", "minimum": 0, "maximum": 1_000_000_000_000_u64, "multipleOf": 99_991 });
    let mut matcher = grammars.constraint(&Language::JsonSchema(multiple).into(), None)?.start();
    let broken = "123456789012".bytes().find_map(|byte| {
        let masked = matcher.mask().map(drop);
        masked.and_then(|()| matcher.push(u32::from(byte))).err()
    });
    must(matches!(&broken, Some(Error::Usage(what)) if what.contains("complex")), || format!("{broken:?}"))?;
    // Three thousand members, any of which may be missing.
    let member = |n: usize| (format!("p{n}"), json!({ "type": "boolean" }));
    let many = json!({ "type": "object", "properties": serde_json::Map::from_iter((0..3000).map(member)) });
    let mut matcher = grammars.constraint(&Language::JsonSchema(many).into(), None)?.start();
    for byte in b"{\"p7\":true,\"p2999\":false}" {
        must(matcher.mask()?.allows(u32::from(*byte)), || format!("no {:?}", char::from(*byte)))?;
        matcher.push(u32::from(*byte))?;
    }
    // As deep as a request's JSON may be.
    let mut deep = json!({ "type": "string" });
    for _ in 0..40 {
        deep = inside(deep);
    }
    grammars
        .check(&Language::JsonSchema(deep))
        .or_else(|error| must(error.to_string().len() < 600, || error.to_string()))
}

pub fn grammars_() -> Outcome {
    let grammars = grammars()?;
    for (text, part) in [
        ("", ""),
        ("start: missing", "missing"),
        ("start: \"a", ""),
        ("begin: \"a\"", "start"),
        ("root ::= \"a\"", ""),
        ("start: <|nothing|>", "nothing"),
    ] {
        contains(&told(&grammars, Language::Lark(text.into()))?, part)?;
    }
    for text in ["(", "[z-a]", "a{5,2}", "(?=a)b"] {
        told(&grammars, Language::Regex(text.into()))?;
    }
    // Whoever reads brackets goes down with them.
    for (deep, part) in [("(".repeat(100_000), "levels"), ("a".repeat(1 << 20), "bytes")] {
        contains(&told(&grammars, Language::Lark(format!("start: {deep}")))?, part)?;
        contains(&told(&grammars, Language::Regex(deep))?, part)?;
    }
    Ok(())
}

/// A schema that refers to others, one behind the other; `step` makes each of what the next one is called.
fn chain(length: usize, step: impl Fn(Value) -> Value) -> Value {
    let reference = |n: usize| json!({ "$ref": format!("#/$defs/a{n}") });
    let mut schemas: Map<String, Value> =
        (0..length).map(|n| (format!("a{n}"), step(reference(n + 1)))).collect();
    schemas.insert(format!("a{length}"), json!({ "type": "null" }));
    json!({ "$ref": "#/$defs/a0", "$defs": schemas })
}

fn members(count: usize) -> Map<String, Value> {
    (0..count).map(|n| (format!("p{n}"), true.into())).collect()
}

/// Languages with which llguidance panics, or overflows its stack. It must not come to that: users' programs end with a panic.
pub fn bounds() -> Outcome {
    let grammars = grammars()?;
    let rules = |count: usize| {
        let rules = (0..count).map(|n| format!("\na{n}: a{}", n + 1));
        format!("start: a0{}\na{count}: \"x\"\n", rules.collect::<String>())
    };
    let tokens = |count: usize| rules(count).replace('a', "A").replace("stArt", "start");
    let object = |next: Value| json!({ "type": "object", "properties": { "x": next, "y": next } });
    let deep = [
        Language::JsonSchema(chain(3_000, |next| next)),
        Language::JsonSchema(chain(3_000, object)),
        Language::JsonSchema(chain(1_000, |next| json!({ "allOf": [next, { "type": ["null", "string"] }] }))),
        Language::JsonSchema(
            json!({ "type": "object", "properties": members(5_000), "additionalProperties": false }),
        ),
        Language::Lark(rules(3_000)),
        Language::Lark(tokens(3_000)),
        Language::Lark("start: \"a::b\\\"\" /a::\\/b/ // a::b\n# c::d".into()),
        // The ends of 64 bits are taken.
        Language::JsonSchema(json!({ "type": "integer", "minimum": i64::MIN, "maximum": i64::MAX })),
        Language::JsonSchema(json!({ "type": "integer", "exclusiveMinimum": -1e300 })),
    ];
    // A thread's stack is smaller than that of a program's first.
    let taken = std::thread::scope(|scope| {
        scope.spawn(|| deep.iter().map(|language| grammars.check(language)).collect::<Vec<_>>()).join()
    });
    for (n, taken) in taken.map_err(|_| "panicked")?.into_iter().enumerate() {
        taken.map_err(|e| format!("language {n}: {e}"))?;
    }
    let long = "é".repeat(60);
    let schemas = [
        (chain(40_000, |next| next), "levels"),
        (
            json!({ "type": "object", "properties": members(10_000), "additionalProperties": false }),
            "10000 members",
        ),
        (json!({ "const": members(100_000) }), "100000 members"),
        (json!({ "type": "integer", "minimum": -1e300, "maximum": -1e300, "multipleOf": 3 }), "64 bits"),
        (json!({ "type": "integer", "maximum": i64::MIN }), "64 bits"),
        (json!({ "type": "integer", "minimum": u64::MAX, "maximum": 1e300 }), "64 bits"),
        (json!({ "const": i64::MIN }), "64 bits"),
        (json!({ "type": "integer", "maximum": 0.1, "const": -1e300 }), "64 bits"),
        (json!({ "enum": [1, { "a": [i64::MIN] }] }), "64 bits"),
        (json!({ "properties": { "a": { "enum": [i64::MIN] } } }), "(at /properties/a)"),
        (json!({ "$ref": "#/default", "default": { "const": i64::MIN } }), "64 bits"),
        (json!({ "type": "number", "multipleOf": format!("{long}a") }), "multipleOf"),
        (json!({ "type": "array", "minItems": [format!("a{long}"), format!("{long}a")] }), "minItems"),
        (json!({ "required": [[format!("{long}a")]] }), "required"),
        (json!({ "multipleOf": 2_147_483_648_u32, "type": "integer" }), "multipleOf"),
        (json!({ "multipleOf": 0.000_000_000_1 }), "multipleOf"),
        (json!({ "allOf": [{ "multipleOf": 65_536 }, { "multipleOf": 99_999 }] }), "multipleOf"),
        (json!({ "allOf": [{ "multipleOf": 1e-40 }, { "multipleOf": 1e-80 }] }), "multipleOf"),
    ];
    let schemas = schemas.map(|(schema, part)| (Language::JsonSchema(schema), part));
    let texts = [
        (format!("start: {}", "A? ".repeat(80_000)) + "\nA: \"a\"", "symbols"),
        (format!("start: {}", "a* ".repeat(80_000)) + "\na: \"a\" | \"b\" a", "symbols"),
        (r#"start: %regex { "substring_chunks": ["", ""] }"#.into(), "substring_chunks"),
        ("start: <\"> a::1 <\">\na::_ : a::clear_bit(1) %if bit_set(1) | \"y\"".into(), "parameters"),
        (format!("start: %json {}", json!({ "const": i64::MIN })), "64 bits"),
        (
            format!("start: %json\n{}", json!({ "type": "integer", "minimum": -1e300, "maximum": -1e300 })),
            "64 bits",
        ),
        (
            format!("start: %json {}", json!({ "type": "number", "multipleOf": format!("{long}a") })),
            "multipleOf",
        ),
    ];
    for (language, part) in schemas.into_iter().chain(texts.map(|(text, part)| (Language::Lark(text), part)))
    {
        let message = told(&grammars, language)?;
        contains(&message, part)?;
        must(!message.contains("cannot be understood") && message.len() < 600, || message.clone())?;
    }
    Ok(())
}
