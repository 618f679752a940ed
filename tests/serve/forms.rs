//! `/v1/responses` and `/v1/messages`: the forms of other clients.

use libtest_mimic::Failed;
use serde_json::{Value, json};

use crate::adapters::Target;
use crate::client::{Response, ok, post};
use crate::server::{Plan, Running};
use crate::{Outcome, equal, must};

/// Events with their names, in order.
fn named(response: &Response) -> Result<Vec<(String, Value)>, Failed> {
    let mut all = Vec::new();
    for block in response.body.split("\n\n").filter(|block| !block.is_empty()) {
        let (name, data) = block.split_once("\ndata: ").ok_or_else(|| format!("no event: {block:?}"))?;
        let name = name.strip_prefix("event: ").ok_or_else(|| format!("no name: {block:?}"))?;
        let data: Value = serde_json::from_str(data)?;
        equal(data["type"].as_str(), Some(name))?;
        all.push((name.to_owned(), data));
    }
    Ok(all)
}

pub fn messages() -> Outcome {
    let server = Running::ready(&Target::cpu(), Plan::default())?;
    let asked = json!({
        "model": "any", "max_tokens": 10, "system": [{ "type": "text", "text": "Tell" }],
        "messages": [
            { "role": "user", "content": "a" },
            { "role": "assistant", "content": [
                { "type": "text", "text": "b" }, { "type": "tool_use", "id": "t1", "name": "f", "input": { "x": 1 } },
            ] },
            { "role": "user", "content": [
                { "type": "tool_result", "tool_use_id": "t1", "content": [{ "type": "text", "text": "c" }] },
                { "type": "text", "text": "d" },
            ] },
        ],
    });
    let count = ok(server.address, "/v1/messages/count_tokens", &asked)?;
    let whole = ok(server.address, "/v1/messages", &asked)?;
    equal(&whole["type"], &json!("message"))?;
    equal(&whole["stop_reason"], &json!("max_tokens"))?;
    equal(&whole["usage"]["input_tokens"], &count["input_tokens"])?;
    equal(&whole["usage"]["output_tokens"], &json!(10))?;
    let text = whole["content"][0]["text"].as_str().ok_or("no text")?;
    let mut streamed = asked.clone();
    streamed["stream"] = true.into();
    let events = named(&post(server.address, "/v1/messages", &streamed)?)?;
    equal(events[0].0.as_str(), "message_start")?;
    // The second time all but the last token is there.
    let usage = &events[0].1["message"]["usage"];
    equal(&usage["input_tokens"], &json!(1))?;
    equal(events[1].0.as_str(), "content_block_start")?;
    let deltas: String = events.iter().filter_map(|(_, e)| e["delta"]["text"].as_str()).collect();
    equal(deltas.as_str(), text)?;
    let ends: Vec<&str> = events.iter().rev().take(3).map(|(name, _)| name.as_str()).collect();
    equal(ends.as_slice(), &["message_stop", "message_delta", "content_block_stop"])?;
    let mut stopped = asked.clone();
    stopped["stop_sequences"] = json!(["nowhere", &text[2..5]]);
    let stopped = ok(server.address, "/v1/messages", &stopped)?;
    equal(&stopped["stop_reason"], &json!("stop_sequence"))?;
    equal(&stopped["stop_sequence"], &json!(&text[2..5]))?;

    for (name, value) in [
        ("max_tokens", json!(null)),
        ("messages", json!([])),
        ("messages", json!([{ "role": "system", "content": "a" }])),
        ("messages", json!([{ "role": "user", "content": [{ "type": "image" }] }])),
        ("messages", json!([{ "role": "user", "content": [{ "type": "tool_result" }] }])),
        ("system", json!(7)),
        ("tools", json!([{ "type": "bash_20250124", "name": "bash" }])),
        ("tool_choice", json!({ "type": "any" })),
        ("thinking", json!({ "type": "much" })),
    ] {
        let mut body = asked.clone();
        body[name] = value;
        let response = post(server.address, "/v1/messages", &body)?;
        must(response.status == 400, || format!("{body}: {response:?}"))?;
        let error = response.json()?;
        equal(&error["type"], &json!("error"))?;
        must(error["error"]["message"].as_str().is_some_and(|m| m.contains(name)), || error.to_string())?;
    }
    server.idle()
}

pub fn responses() -> Outcome {
    let server = Running::ready(&Target::cpu(), Plan::default())?;
    let asked = json!({
        "model": "any", "max_output_tokens": 10, "instructions": "Tell",
        "input": [
            { "role": "user", "content": [{ "type": "input_text", "text": "a" }] },
            { "type": "function_call", "call_id": "c1", "name": "f", "arguments": "{\"x\":1}" },
            { "type": "function_call_output", "call_id": "c1", "output": "7" },
            { "type": "reasoning", "id": "r", "summary": [] },
        ],
        "tools": [{ "type": "function", "name": "f", "parameters": { "type": "object" } }],
    });
    let whole = ok(server.address, "/v1/responses", &asked)?;
    equal(&whole["object"], &json!("response"))?;
    equal(&whole["status"], &json!("incomplete"))?;
    equal(&whole["incomplete_details"]["reason"], &json!("max_output_tokens"))?;
    equal(&whole["usage"]["output_tokens"], &json!(10))?;
    equal(&whole["usage"]["input_tokens_details"]["cache_write_tokens"], &json!(0))?;
    equal(&whole["output"][0]["status"], &json!("incomplete"))?;
    let text = whole["output"][0]["content"][0]["text"].as_str().ok_or("no text")?;
    let mut streamed = asked.clone();
    streamed["stream"] = true.into();
    let events = named(&post(server.address, "/v1/responses", &streamed)?)?;
    equal(&events[events.len() - 2].1["item"]["status"], &json!("incomplete"))?;
    let names: Vec<&str> = events.iter().map(|(name, _)| name.as_str()).collect();
    equal(
        &names[..4],
        &[
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added",
        ],
    )?;
    equal(
        &names[names.len() - 4..],
        &[
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.incomplete",
        ],
    )?;
    for (n, (_, event)) in events.iter().enumerate() {
        equal(event["sequence_number"].as_u64(), Some(n as u64))?;
    }
    let delta = |(name, e): &(String, Value)| {
        (name == "response.output_text.delta").then(|| e["delta"].as_str().unwrap_or("?").to_owned())
    };
    equal(events.iter().filter_map(delta).collect::<String>().as_str(), text)?;
    let last = &events.last().ok_or("no events")?.1["response"];
    equal(&last["output"][0]["content"], &whole["output"][0]["content"])?;
    let plain =
        ok(server.address, "/v1/responses", &json!({ "input": "Once upon a time", "temperature": 0 }))?;
    equal(&plain["status"], &json!("completed"))?;
    equal(&plain["output"][0]["status"], &json!("completed"))?;
    // What was said in refusal is taken back, and what asks for nothing is no mistake.
    let refused = json!([{ "role": "assistant", "content": [{ "type": "refusal", "refusal": "No" }] }]);
    let nothing = json!({ "input": refused, "max_output_tokens": 1, "top_logprobs": 0, "background": false, "include": [] });
    ok(server.address, "/v1/responses", &nothing)?;
    for (name, value) in [
        ("input", json!(null)),
        ("input", json!([])),
        ("input", json!([{ "type": "item_reference", "id": "x" }])),
        ("input", json!([{ "role": "user", "content": [{ "type": "input_image" }] }])),
        ("previous_response_id", json!("resp_1")),
        ("background", json!(true)),
        ("truncation", json!("auto")),
        ("include", json!(["message.output_text.logprobs"])),
        ("top_logprobs", json!(2)),
        ("tool_choice", json!({ "type": "function", "name": "g" })),
        ("text", json!({ "format": { "type": "xml" } })),
        ("reasoning", json!({ "effort": "utmost" })),
    ] {
        let mut body = asked.clone();
        body[name] = value;
        let response = post(server.address, "/v1/responses", &body)?;
        must(response.status == 400, || format!("{body}: {response:?}"))?;
        let error = response.json()?;
        must(error["error"]["message"].as_str().is_some_and(|m| m.contains(name)), || error.to_string())?;
    }
    server.idle()
}
