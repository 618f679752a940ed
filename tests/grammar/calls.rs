//! Calls that are forced, from whoever says the first thing that comes to mind, are read as calls, with valid arguments.

use libtest_mimic::Failed;
use serde_json::{Value, json};
use wgllm::chat::{CallFormat, Callable, Calls, Otherwise, Said, call_grammar};
use wgllm::gguf::Gguf;
use wgllm::grammar::{Grammar, Grammars, Language};
use wgllm::tokenizer::Tokenizer;

use crate::answers::push;
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

/// The marks of all forms.
const CONTROLS: &[&str] = &[
    "<tool_call>",
    "</tool_call>",
    "[TOOL_CALLS]",
    "[ARGS]",
    "<|python_tag|>",
    "<|channel|>",
    "<|message|>",
    "<|start|>",
    "<|end|>",
    "<|constrain|>",
    "<|call|>",
    "<|return|>",
];

fn tools() -> [Callable; 2] {
    [
        ("get_weather", json!({
            "type": "object", "properties": { "city": { "type": "string", "maxLength": 6 }, "days": { "$ref": "#/$defs/days" } },
            "required": ["city"], "additionalProperties": false, "$defs": { "days": { "type": "integer", "minimum": 1, "maximum": 7 } },
        })),
        ("ring-the-bell", json!({ "type": "object", "additionalProperties": false })),
    ]
    .map(|(name, parameters)| Callable { name: name.into(), parameters })
}

/// Runs a test with a tokenizer whose tokens are bytes and marks, and with one of bytes alone.
fn with_marks_and_without(test: impl Fn(&[&str], &Tokenizer, &Grammars) -> Outcome) -> Outcome {
    for controls in [CONTROLS, &[]] {
        let file = byte_model::file(controls, 64).bytes();
        let tokenizer = Tokenizer::of(&Gguf::from_static("bytes", file.leak())?)?.ok_or("no tokenizer")?;
        test(controls, &tokenizer, &Grammars::new(&tokenizer)?)?;
    }
    Ok(())
}

/// Whether a form can be said: channels are control tokens wherever there are any.
fn can_be_said(format: CallFormat, controls: &[&str]) -> bool {
    format != CallFormat::Harmony || !controls.is_empty()
}

pub fn forms() -> Outcome {
    let tools = tools();
    let answer = json!({ "type": "object", "properties": { "ok": { "type": "boolean" } }, "required": ["ok"], "additionalProperties": false });
    with_marks_and_without(|controls, tokenizer, grammars| {
        for (format, template) in [
            (CallFormat::Hermes, ""),
            (CallFormat::Llama3, ""),
            (CallFormat::Mistral, ""),
            (CallFormat::Mistral, "[ARGS]"),
            (CallFormat::Harmony, ""),
        ] {
            if !can_be_said(format, controls) {
                continue;
            }
            let (mut named, mut answered) = ([0; 2], 0);
            for seed in 0..24 {
                let either = seed % 3 == 2;
                let or = match either {
                    true => Otherwise::Answer(Language::JsonSchema(answer.clone())),
                    false => Otherwise::Nothing,
                };
                let grammar = call_grammar(format, &tools, seed % 2 == 0, or, tokenizer, template);
                let text = say(grammars, tokenizer, &grammar, seed)?;
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
        Ok(())
    })
}

/// What may be said where calls are only held to schemas, and where it goes wrong: behind `!` stands what may not come there.
const SAID: &[(CallFormat, &str, &str)] = &[
    (CallFormat::Hermes, "", "Just a <tool> {text}."),
    (
        CallFormat::Hermes,
        "",
        "I see.\n<tool_call>\n{\"name\": \"ring-the-bell\", \"arguments\": {}}\n</tool_call>\nAnd then",
    ),
    (
        CallFormat::Hermes,
        "",
        "<tool_call>\n{\"name\": \"ring-the-bell\", \"arguments\": {}}\n</tool_call>\n<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Oslo\"}}\n</tool_call>",
    ),
    (CallFormat::Hermes, "", "Hm <tool_call>!x"),
    (CallFormat::Hermes, "", "<tool_call>\n{\"name\": \"!x"),
    (CallFormat::Hermes, "", "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"!d"),
    (CallFormat::Hermes, "", "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Kraków!w"),
    (CallFormat::Llama3, "", "It is {1}."),
    (
        CallFormat::Llama3,
        "",
        "{\"name\": \"ring-the-bell\", \"parameters\": {}}; {\"name\": \"ring-the-bell\", \"parameters\": {}}",
    ),
    (
        CallFormat::Llama3,
        "",
        "I see. <|python_tag|>{\"name\": \"get_weather\", \"parameters\": {\"city\": \"Rom\"}}",
    ),
    (CallFormat::Llama3, "", "I see. <|python_tag|>{\"name\": \"get_weather\", \"parameters\": {\"!n"),
    (CallFormat::Llama3, "", "{\"!a"),
    (
        CallFormat::Mistral,
        "",
        "Now.[TOOL_CALLS][{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Rom\", \"days\": 7}}]",
    ),
    (
        CallFormat::Mistral,
        "",
        "[TOOL_CALLS][{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Rom\", \"days\": !8",
    ),
    (
        CallFormat::Mistral,
        "[ARGS]",
        "[TOOL_CALLS]ring-the-bell[ARGS]{}[TOOL_CALLS]get_weather[ARGS]{\"city\": \"Rom\"}",
    ),
    (CallFormat::Mistral, "[ARGS]", "Now. [TOOL_CALLS]ring-the-bell[ARGS]{!\""),
    (
        CallFormat::Harmony,
        "",
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Any text {.",
    ),
    (
        CallFormat::Harmony,
        "",
        "<|channel|>commentary<|message|>I look.<|end|><|start|>assistant<|channel|>commentary to=functions.ring-the-bell <|constrain|>json<|message|>{}",
    ),
    (
        CallFormat::Harmony,
        "",
        "<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{\"!n",
    ),
];

pub fn begun() -> Outcome {
    with_marks_and_without(|controls, tokenizer, grammars| {
        for &(format, template, said) in SAID {
            if !can_be_said(format, controls) {
                continue;
            }
            let grammar = call_grammar(format, &tools(), true, Otherwise::Text, tokenizer, template);
            let mut matcher = grammars.constraint(&grammar, None)?.start();
            let (may, wrong) = said.split_once('!').unwrap_or((said, ""));
            push(matcher.as_mut(), tokenizer, may)?;
            match wrong {
                "" => must(matcher.is_complete() || matcher.mask()?.allows(byte_model::END), || {
                    format!("{format:?}: no end behind {said:?}")
                })?,
                wrong => must(push(matcher.as_mut(), tokenizer, wrong).is_err(), || {
                    format!("{format:?}: {wrong:?} may come behind {may:?}")
                })?,
            }
        }
        // One call at most.
        let grammar = call_grammar(CallFormat::Hermes, &tools(), false, Otherwise::Text, tokenizer, "");
        let mut matcher = grammars.constraint(&grammar, None)?.start();
        let call = "<tool_call>\n{\"name\": \"ring-the-bell\", \"arguments\": {}}\n</tool_call>";
        push(matcher.as_mut(), tokenizer, call)?;
        must(matcher.is_complete() || !matcher.mask()?.allows(u32::from(b'a')), || "it goes on".into())
    })
}
