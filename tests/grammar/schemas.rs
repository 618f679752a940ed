//! Twenty schemas, unlike each other.

use serde_json::{Value, json};

/// Their names, and what they are.
pub fn all() -> Vec<(&'static str, Value)> {
    let text = |most: u64| json!({ "type": "string", "maxLength": most });
    vec![
        ("a text", json!({ "type": "string", "minLength": 2, "maxLength": 12 })),
        ("a whole number within bounds", json!({ "type": "integer", "minimum": -20, "maximum": 3000 })),
        ("a number between bounds", json!({ "type": "number", "exclusiveMinimum": 0, "maximum": 99.5 })),
        ("a multiple", json!({ "type": "integer", "minimum": 0, "maximum": 1000, "multipleOf": 25 })),
        ("truth or nothing", json!({ "type": ["boolean", "null"] })),
        ("one of some", json!({ "enum": ["red", "green", 7, null, { "a": [1, 2] }, "blau \"und\" grün"] })),
        (
            "letters beyond ASCII",
            json!({ "enum": ["žluťoučký kůň", "日本語", "🐶🐱", "नमस्ते", "a\u{301}", "tab\there"] }),
        ),
        (
            "an object that is closed",
            json!({
                "type": "object", "properties": { "name": text(10), "age": { "type": "integer", "minimum": 0, "maximum": 130 } },
                "required": ["name", "age"], "additionalProperties": false,
            }),
        ),
        (
            "members that may be missing",
            json!({
                "type": "object", "properties": { "a": text(3), "b": { "type": "boolean" }, "c": { "type": "null" } },
                "required": ["b"], "additionalProperties": false,
            }),
        ),
        (
            "members of one kind",
            json!({ "type": "object", "properties": { "id": { "type": "integer", "minimum": 1, "maximum": 9 } }, "required": ["id"], "additionalProperties": false }),
        ),
        (
            "a list of numbers",
            json!({ "type": "array", "items": { "type": "number", "minimum": -1, "maximum": 1 }, "minItems": 2, "maxItems": 5 }),
        ),
        (
            "a list with a form",
            json!({
                "type": "array", "prefixItems": [{ "const": "point" }, { "type": "integer", "minimum": 0, "maximum": 99 }],
                "items": { "type": "boolean" }, "minItems": 2, "maxItems": 4,
            }),
        ),
        (
            "a list of lists",
            json!({
                "type": "array", "minItems": 1, "maxItems": 3,
                "items": { "type": "array", "items": { "enum": ["x", "o", " "] }, "minItems": 3, "maxItems": 3 },
            }),
        ),
        (
            "objects in objects",
            json!({
                "type": "object", "required": ["a"], "additionalProperties": false,
                "properties": { "a": {
                    "type": "object", "required": ["b"], "additionalProperties": false,
                    "properties": { "b": {
                        "type": "object", "required": ["c"], "additionalProperties": false,
                        "properties": { "c": { "type": "array", "items": text(4), "maxItems": 2 } },
                    } },
                } },
            }),
        ),
        (
            "one kind or another",
            json!({ "anyOf": [
                { "type": "object", "properties": { "kind": { "const": "circle" }, "radius": { "type": "number", "minimum": 0, "maximum": 10 } }, "required": ["kind", "radius"], "additionalProperties": false },
                { "type": "object", "properties": { "kind": { "const": "square" }, "side": { "type": "integer", "minimum": 1, "maximum": 10 } }, "required": ["kind", "side"], "additionalProperties": false },
                { "type": "null" },
            ] }),
        ),
        (
            "exactly one kind",
            json!({ "oneOf": [{ "type": "string", "maxLength": 5 }, { "type": "integer", "minimum": 10, "maximum": 20 }, { "type": "boolean" }] }),
        ),
        (
            "all of some",
            json!({ "allOf": [
                { "type": "object", "properties": { "a": { "type": "integer", "minimum": 5 } }, "required": ["a"] },
                { "properties": { "a": { "maximum": 50 } }, "additionalProperties": false },
            ] }),
        ),
        (
            "a tree",
            json!({
                "$defs": { "node": { "anyOf": [
                    { "type": "integer", "minimum": 0, "maximum": 99 },
                    { "type": "array", "items": { "$ref": "#/$defs/node" }, "minItems": 1, "maxItems": 2 },
                ] } },
                "type": "object", "properties": { "root": { "$ref": "#/$defs/node" } }, "required": ["root"], "additionalProperties": false,
            }),
        ),
        ("a pattern", json!({ "type": "string", "pattern": "^[A-Z]{2}-[0-9]{3}(x|y)?$" })),
        (
            "a form to fill in",
            json!({
                "type": "object", "title": "Order", "description": "What is ordered",
                "properties": {
                    "größe": { "enum": ["S", "M", "L"] }, "day": { "type": "string", "format": "date" },
                    "lines": { "type": "array", "minItems": 1, "maxItems": 2, "items": {
                        "type": "object", "properties": { "sku": { "type": "string", "pattern": "^[a-f0-9]{4}$" }, "count": { "type": "integer", "minimum": 1, "maximum": 12 } },
                        "required": ["sku", "count"], "additionalProperties": false,
                    } },
                    "note \"q\"": { "type": ["string", "null"], "maxLength": 8 },
                },
                "required": ["größe", "day", "lines", "note \"q\""], "additionalProperties": false,
            }),
        ),
    ]
}
