//! Thoughts and calls of tools in all forms, from a model that answers what the test wants.

use libtest_mimic::Failed;
use serde_json::{Value, json};

use crate::adapters::Target;
use crate::client::{ok, post};
use crate::server::{Plan, Running};
use crate::{Outcome, equal, must};

const SCRIPT: &str = "<think>Hm.\n</think>\nLet me see.\n<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Oslo\"}}\n\
                      </tool_call>\n<tool_call>\n{\"name\": \"add\", \"arguments\": {\"a\": 1}}\n</tool_call>";

fn tools() -> Value {
    let tool = |name: &str| json!({ "type": "function", "function": { "name": name, "parameters": { "type": "object" } } });
    json!([tool("get_weather"), tool("add")])
}

pub fn all_forms() -> Outcome {
    let server = Running::ready(&Target::cpu(), Plan { script: SCRIPT, ..Plan::default() })?;
    let messages = json!([{ "role": "user", "content": "a" }]);
    let asked = json!({ "messages": messages, "tools": tools() });
    let whole = ok(server.address, "/v1/chat/completions", &asked)?;
    let choice = &whole["choices"][0];
    equal(&choice["finish_reason"], &json!("tool_calls"))?;
    let message = &choice["message"];
    equal(message["reasoning_content"].as_str().map(str::trim), Some("Hm."))?;
    equal(&message["content"], &json!("Let me see."))?;
    let calls = message["tool_calls"].as_array().ok_or("no calls")?;
    equal(calls.len(), 2)?;
    equal(&calls[0]["function"], &json!({ "name": "get_weather", "arguments": "{\"city\": \"Oslo\"}" }))?;
    equal(&calls[1]["function"], &json!({ "name": "add", "arguments": "{\"a\": 1}" }))?;
    must(calls[0]["id"].as_str().is_some_and(|id| id.starts_with("call_")), || whole.to_string())?;
    must(calls[0]["id"] != calls[1]["id"], || whole.to_string())?;
    let thought =
        whole["usage"]["completion_tokens_details"]["reasoning_tokens"].as_u64().unwrap_or_default();
    let all = whole["usage"]["completion_tokens"].as_u64().unwrap_or_default();
    must(thought > 0 && thought < all / 2, || whole["usage"].to_string())?;

    // The calls and what came of them go into the next prompt.
    let next = json!({ "messages": [messages[0], message, { "role": "tool", "tool_call_id": calls[0]["id"], "content": "rain" }] });
    let prompt = ok(server.address, "/apply-template", &next)?;
    must(prompt["prompt"].as_str().is_some_and(|p| p.contains("Oslo") && p.contains("tool: rain")), || {
        prompt.to_string()
    })?;

    streamed(&server, &asked)?;

    let asked = json!({
        "max_tokens": 400, "messages": messages,
        "tools": [{ "name": "get_weather", "input_schema": { "type": "object" } }],
    });
    let whole = ok(server.address, "/v1/messages", &asked)?;
    equal(&whole["stop_reason"], &json!("tool_use"))?;
    let kinds: Vec<_> = (0..4).filter_map(|n| whole["content"][n]["type"].as_str()).collect();
    equal(kinds.as_slice(), &["thinking", "text", "tool_use", "tool_use"])?;
    equal(&whole["content"][2]["input"], &json!({ "city": "Oslo" }))?;
    let mut stream = asked.clone();
    stream["stream"] = true.into();
    let body = post(server.address, "/v1/messages", &stream)?.body;
    for part in [
        "thinking_delta",
        "text_delta",
        "input_json_delta",
        "\"stop_reason\":\"tool_use\"",
        "event: message_stop",
    ] {
        must(body.contains(part), || format!("no {part} in {body}"))?;
    }

    let tools = json!([{ "type": "function", "name": "get_weather", "parameters": {} }]);
    let asked = json!({ "input": "a", "tools": tools });
    let whole = ok(server.address, "/v1/responses", &asked)?;
    let kinds: Vec<_> = (0..4).filter_map(|n| whole["output"][n]["type"].as_str()).collect();
    equal(kinds.as_slice(), &["reasoning", "message", "function_call", "function_call"])?;
    equal(&whole["output"][2]["arguments"], &json!("{\"city\": \"Oslo\"}"))?;
    let mut stream = asked.clone();
    stream["stream"] = true.into();
    let body = post(server.address, "/v1/responses", &stream)?.body;
    for part in [
        "response.reasoning_text.delta",
        "response.function_call_arguments.delta",
        "event: response.completed",
    ] {
        must(body.contains(part), || format!("no {part} in {body}"))?;
    }

    // Without tools there are no calls, only text.
    let plain = ok(server.address, "/v1/chat/completions", &json!({ "messages": messages }))?;
    equal(&plain["choices"][0]["finish_reason"], &json!("stop"))?;
    must(
        plain["choices"][0]["message"]["content"].as_str().is_some_and(|c| c.contains("<tool_call>")),
        || plain.to_string(),
    )?;

    // One call and no more.
    let asked = json!({ "messages": messages, "tools": self::tools(), "parallel_tool_calls": false });
    let one = ok(server.address, "/v1/chat/completions", &asked)?;
    equal(one["choices"][0]["message"]["tool_calls"].as_array().map(Vec::len), Some(1))?;
    equal(&one["choices"][0]["finish_reason"], &json!("tool_calls"))?;
    server.idle()
}

fn streamed(server: &Running, asked: &Value) -> Result<(), Failed> {
    let mut asked = asked.clone();
    asked["stream"] = true.into();
    let events = post(server.address, "/v1/chat/completions", &asked)?.events()?;
    let deltas: Vec<&Value> = events.iter().map(|e| &e["choices"][0]["delta"]).collect();
    let joined = |key: &str| deltas.iter().filter_map(|d| d[key].as_str()).collect::<String>();
    equal(joined("content").as_str(), "Let me see.")?;
    equal(joined("reasoning_content").trim(), "Hm.")?;
    let mut calls: Vec<(String, String)> = Vec::new();
    for call in deltas.iter().filter_map(|d| d["tool_calls"].as_array()).flatten() {
        let index = call["index"].as_u64().ok_or("no index")? as usize;
        if let Some(name) = call["function"]["name"].as_str() {
            equal(index, calls.len())?;
            must(call["id"].is_string() && call["type"] == "function", || call.to_string())?;
            calls.push((name.into(), String::new()));
        }
        let arguments = call["function"]["arguments"].as_str().ok_or("no arguments")?;
        calls.get_mut(index).ok_or("no beginning")?.1 += arguments;
    }
    let expected = [("get_weather", "{\"city\": \"Oslo\"}"), ("add", "{\"a\": 1}")];
    equal(calls, expected.map(|(n, a)| (n.to_owned(), a.to_owned())).to_vec())?;
    equal(&events.last().ok_or("no events")?["choices"][0]["finish_reason"], &json!("tool_calls"))
}
