//! Calls that are forced, from whoever says the first thing that comes to mind, are read as calls, with valid arguments.

use libtest_mimic::Failed;
use serde_json::{Value, json};
use wgllm::chat::{CallFormat, Callable, Calls, Said, call_grammar};
use wgllm::gguf::Gguf;
use wgllm::grammar::{Grammar, Grammars, Language};
use wgllm::tokenizer::Tokenizer;

use crate::demands::{equal, must};
use crate::{Outcome, byte_model, json_schema};

/// What is said under a grammar by whoever takes any token that may come; control tokens by their texts.
fn say(grammars: &Grammars, tokenizer: &Tokenizer, grammar: &Grammar, seed: u64) -> Result<String, Failed> {
    let mut matcher = grammars.constraint(grammar, None)?.start();
    let (mut bytes, mut state) = (Vec::new(), seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    for _ in 0..3000 {
        let mask = matcher.mask()?;
        let may: Vec<u32> = (0..tokenizer.vocab_size() as u32).filter(|&t| mask.allows(t)).collect();
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        // Ends more often than chance would.
        let end = may.iter().find(|&&t| tokenizer.is_end(t));
        let token = end.copied().unwrap_or_else(|| may[(state >> 33) as usize % may.len()]);
        if tokenizer.is_end(token) {
            return Ok(String::from_utf8(bytes)?);
        }
        bytes.extend(tokenizer.control_text(token).map_or(tokenizer.piece(token), str::as_bytes));
        matcher.push(token)?;
        if matcher.is_complete() {
            return Ok(String::from_utf8(bytes)?);
        }
    }
    Err(format!("no end of {:?}", String::from_utf8_lossy(&bytes)).into())
}

pub fn forms() -> Outcome {
    let tools = [
        ("get_weather", json!({
            "type": "object", "properties": { "city": { "type": "string", "maxLength": 6 }, "days": { "$ref": "#/$defs/days" } },
            "required": ["city"], "additionalProperties": false, "$defs": { "days": { "type": "integer", "minimum": 1, "maximum": 7 } },
        })),
        ("ring-the-bell", json!({ "type": "object", "additionalProperties": false })),
    ]
    .map(|(name, parameters)| Callable { name: name.into(), parameters });
    let controls = [
        "<tool_call>",
        "</tool_call>",
        "[TOOL_CALLS]",
        "[ARGS]",
        "<|channel|>",
        "<|message|>",
        "<|start|>",
        "<|end|>",
        "<|constrain|>",
        "<|call|>",
        "<|return|>",
    ];
    let answer = json!({ "type": "object", "properties": { "ok": { "type": "boolean" } }, "required": ["ok"], "additionalProperties": false });
    for controls in [&controls[..], &[]] {
        let file = byte_model::file(controls, 64).bytes();
        let tokenizer = Tokenizer::of(&Gguf::from_static("bytes", file.leak())?)?.ok_or("no tokenizer")?;
        let grammars = Grammars::new(&tokenizer)?;
        for (format, template) in [
            (CallFormat::Hermes, ""),
            (CallFormat::Llama3, ""),
            (CallFormat::Mistral, ""),
            (CallFormat::Mistral, "[ARGS]"),
            (CallFormat::Harmony, ""),
        ] {
            // Channels are control tokens wherever there are any.
            if format == CallFormat::Harmony && controls.is_empty() {
                continue;
            }
            let (mut named, mut answered) = ([0; 2], 0);
            for seed in 0..24 {
                let or = (seed % 3 == 2).then(|| Language::JsonSchema(answer.clone()));
                let either = or.is_some();
                let grammar = call_grammar(format, &tools, seed % 2 == 0, or, &tokenizer, template);
                let text = say(&grammars, &tokenizer, &grammar, seed)?;
                // Thoughts in channels are for who reads those.
                let text = match format {
                    CallFormat::Harmony => text
                        .rsplit_once("assistant<|channel|>")
                        .map_or(text.clone(), |(_, last)| format!("<|channel|>{last}")),
                    _ => text,
                };
                let mut calls = Calls::new(Some(format));
                let mut said = calls.push(&text);
                said.extend(calls.finish());
                let mut found: Vec<(String, String)> = Vec::new();
                for part in said {
                    match part {
                        Said::Call { name } => found.push((name, String::new())),
                        Said::Arguments(more) => found.last_mut().ok_or("no call")?.1 += &more,
                        Said::CallEnd => {}
                        Said::Text(plain) if either => {
                            let plain = plain.trim_start_matches("<|channel|>final<|message|>");
                            let value: Value =
                                serde_json::from_str(plain).map_err(|e| format!("{e} in {text:?}"))?;
                            equal(json_schema::fault(&value, &answer), None)?;
                            answered += 1;
                        }
                        Said::Text(plain) => {
                            return Err(format!("{format:?}: text {plain:?} in {text:?}").into());
                        }
                    }
                }
                must(either || !found.is_empty(), || format!("{format:?}: no call in {text:?}"))?;
                for (name, arguments) in found {
                    let at = tools
                        .iter()
                        .position(|tool| tool.name == name)
                        .ok_or_else(|| format!("{name:?} in {text:?}"))?;
                    let value: Value =
                        serde_json::from_str(&arguments).map_err(|e| format!("{e} in {text:?}"))?;
                    equal(json_schema::fault(&value, &tools[at].parameters), None)?;
                    named[at] += 1;
                }
            }
            must(named.iter().all(|&n| n > 0) && answered > 0, || {
                format!("{format:?}: {named:?}, {answered} answers")
            })?;
        }
    }
    Ok(())
}
