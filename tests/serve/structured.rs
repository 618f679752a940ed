//! Answers of a form that the client asks for: schemas, grammars, calls in any case.

use libtest_mimic::Failed;
use serde_json::{Value, json};

use crate::adapters::Target;
use crate::client::{Response, ok, post};
use crate::server::{Plan, Running, TEMPLATE};
use crate::{Outcome, equal, json_schema, must};

const CHAT: &str = "/v1/chat/completions";
const TEXT: &str = "/v1/completions";
const RESPONSES: &str = "/v1/responses";
const MESSAGES: &str = "/v1/messages";

/// Control tokens of a model that speaks in channels.
const CHANNELS: &[&str] =
    &["<|start|>", "<|channel|>", "<|constrain|>", "<|message|>", "<|end|>", "<|call|>", "<|return|>"];

/// A template with channels.
const IN_CHANNELS: &str = "{% if tools %}{{ tools|tojson }}<|channel|>commentary{% endif %}{% for m in messages %}<|start|>{{ m.role }}<|message|>{{ m.content }}<|end|>{% endfor %}<|start|>assistant";

fn schema() -> Value {
    json!({
        "type": "object", "required": ["name", "tags", "n"], "additionalProperties": false,
        "properties": {
            "name": { "type": "string", "maxLength": 8 }, "n": { "type": "integer", "minimum": 0, "maximum": 12 },
            "tags": { "type": "array", "items": { "enum": ["größe", "b\"c", "🐶"] }, "maxItems": 3 },
        },
    })
}

fn messages() -> Value {
    json!([{ "role": "user", "content": "a" }])
}

/// `body` with more members.
fn with(mut body: Value, more: Value) -> Value {
    for (key, value) in more.as_object().into_iter().flatten() {
        body[key] = value.clone();
    }
    body
}

/// The text of an answer at any of the paths.
fn text(answer: &Value) -> String {
    let places = [
        &answer["choices"][0]["message"]["content"],
        &answer["choices"][0]["text"],
        &answer["output"][0]["content"][0]["text"],
        &answer["content"][0]["text"],
    ];
    places.iter().find_map(|place| place.as_str()).unwrap_or_default().to_owned()
}

/// The text of an answer that was streamed.
fn streamed_text(response: &Response) -> String {
    let data = response.body.lines().filter_map(|line| line.strip_prefix("data: "));
    let events = data.filter_map(|data| serde_json::from_str::<Value>(data).ok());
    let delta = |event: Value| {
        let of_responses = (event["type"] == "response.output_text.delta").then(|| event["delta"].clone());
        let places = [
            event["choices"][0]["delta"]["content"].clone(),
            event["choices"][0]["text"].clone(),
            event["delta"]["text"].clone(),
            of_responses.unwrap_or_default(),
        ];
        places.iter().find_map(|place| place.as_str().map(str::to_owned))
    };
    events.filter_map(delta).collect()
}

fn valid(text: &str, schema: &Value) -> Outcome {
    let value: Value = serde_json::from_str(text).map_err(|e| format!("{e} in {text:?}"))?;
    json_schema::fault(&value, schema).map_or(Ok(()), |fault| Err(format!("{fault} in {text:?}").into()))
}

/// Requests for an answer by the schema, at all paths.
fn by_schema() -> [(&'static str, Value); 5] {
    let strict =
        json!({ "type": "json_schema", "json_schema": { "name": "x", "strict": true, "schema": schema() } });
    let flat = json!({ "type": "json_schema", "name": "x", "schema": schema() });
    [
        (CHAT, json!({ "messages": messages(), "response_format": strict })),
        (
            CHAT,
            json!({ "messages": messages(), "response_format": { "type": "json_object", "schema": schema() } }),
        ),
        (TEXT, json!({ "prompt": "Once upon a time", "json_schema": schema() })),
        (RESPONSES, json!({ "input": "a", "text": { "format": flat } })),
        (MESSAGES, json!({ "messages": messages(), "max_tokens": 200, "output_config": { "format": flat } })),
    ]
}

pub fn formats(target: &Target) -> Outcome {
    let server = Running::ready(target, Plan::default())?;
    let address = server.address;
    let plain = json!({ "prompt": "Once upon a time", "max_tokens": 60 });
    let alone = text(&ok(address, TEXT, &plain)?);
    // Whoever is beside gets what it gets alone.
    let beside = std::thread::spawn(move || ok(address, TEXT, &plain).map(|answer| text(&answer)));
    for (path, body) in by_schema() {
        for seed in 0..3 {
            let body = with(
                body.clone(),
                json!({ "temperature": 1, "top_k": 0, "top_p": 1, "min_p": 0, "seed": seed }),
            );
            let whole = text(&ok(address, path, &body)?);
            valid(&whole, &schema()).map_err(|e| format!("{path}: {}", e.message().unwrap_or_default()))?;
            equal(&streamed_text(&post(address, path, &with(body, json!({ "stream": true })))?), &whole)?;
        }
    }
    equal(beside.join().map_err(|_| "the other client failed")??, alone)?;
    // Logits that come back to the host are masked there.
    let (_, chat) = by_schema()[0].clone();
    let chat = with(chat, json!({ "temperature": 1, "seed": 5 }));
    let likely = ok(address, CHAT, &with(chat.clone(), json!({ "logprobs": true, "top_logprobs": 2 })))?;
    equal(text(&likely), text(&ok(address, CHAT, &chat)?))?;
    equal(&likely["choices"][0]["finish_reason"], &json!("stop"))?;
    // Several choices keep to it, each by itself.
    let many = ok(address, CHAT, &with(chat.clone(), json!({ "n": 3 })))?;
    for choice in many["choices"].as_array().ok_or("no choices")? {
        valid(choice["message"]["content"].as_str().unwrap_or_default(), &schema())?;
        equal(&choice["finish_reason"], &json!("stop"))?;
    }
    let cut = ok(address, CHAT, &with(chat, json!({ "max_tokens": 4 })))?;
    equal(&cut["choices"][0]["finish_reason"], &json!("length"))?;
    server.idle()
}

pub fn languages() -> Outcome {
    let server = Running::ready(&Target::cpu(), Plan::default())?;
    let ask = |more: Value| {
        ok(server.address, TEXT, &with(json!({ "prompt": "Once upon a time", "max_tokens": 30 }), more))
    };
    let regex = ask(json!({ "regex": "[0-9]{3}-(yes|no)" }))?;
    must(text(&regex).len() <= 7 && text(&regex).as_bytes()[3] == b'-', || regex.to_string())?;
    equal(&regex["choices"][0]["finish_reason"], &json!("stop"))?;
    let lark = ask(json!({ "grammar": "start: \"so\" (\" so\")~2 \".\"" }))?;
    equal(text(&lark).as_str(), "so so so.")?;
    let object = ask(json!({ "response_format": { "type": "json_object" } }))?;
    must(text(&object).starts_with('{'), || object.to_string())?;
    let plain = ask(json!({ "response_format": { "type": "text" } }))?;
    equal(text(&plain), text(&ask(json!({}))?))?;
    server.idle()
}

fn tools() -> Value {
    let tool = |name: &str, parameters: Value| json!({ "type": "function", "function": { "name": name, "parameters": parameters } });
    json!([
        tool(
            "get_weather",
            json!({ "properties": { "city": { "enum": ["Oslo", "Rio"] } }, "required": ["city"], "additionalProperties": false })
        ),
        tool("add", schema()),
    ])
}

/// Name and arguments of each call of a chat.
fn calls(message: &Value) -> Vec<(String, String)> {
    let call = |call: &Value| {
        let part = |name: &str| call["function"][name].as_str().unwrap_or_default().to_owned();
        (part("name"), part("arguments"))
    };
    message["tool_calls"].as_array().into_iter().flatten().map(call).collect()
}

/// The same of a chat that was streamed.
fn streamed_calls(response: &Response) -> Result<Vec<(String, String)>, Failed> {
    let mut found: Vec<(String, String)> = Vec::new();
    for event in response.events()? {
        for (name, arguments) in calls(&event["choices"][0]["delta"]) {
            match name.is_empty() {
                true => found.last_mut().ok_or("no beginning")?.1 += &arguments,
                false => found.push((name, arguments)),
            }
        }
    }
    Ok(found)
}

pub fn required() -> Outcome {
    for opening in ["<tool_call>", "<|python_tag|>", "[TOOL_CALLS]", "[TOOL_CALLS][ARGS]"] {
        let template = TEMPLATE.replace("<tool_call>", opening);
        let server = Running::ready(&Target::cpu(), Plan { template, context: 1024, ..Plan::default() })?;
        let address = server.address;
        let body = json!({
            "messages": messages(), "tools": tools(), "parallel_tool_calls": false, "temperature": 1, "max_tokens": 200,
        });
        let named = json!({ "type": "function", "function": { "name": "add" } });
        for (choice, seed) in [(json!("required"), 1), (json!("required"), 2), (named.clone(), 3), (named, 4)]
        {
            let body = with(body.clone(), json!({ "tool_choice": choice, "seed": seed }));
            let whole = ok(address, CHAT, &body)?;
            equal(&whole["choices"][0]["finish_reason"], &json!("tool_calls"))?;
            let message = &whole["choices"][0]["message"];
            let found = calls(message);
            equal(found.len(), 1)?;
            must(choice == "required" || found[0].0 == "add", || whole.to_string())?;
            let all = tools();
            let tool =
                all.as_array().into_iter().flatten().find(|t| t["function"]["name"] == found[0].0.as_str());
            valid(&found[0].1, &tool.ok_or("no such tool")?["function"]["parameters"])?;
            equal(&message["content"], &Value::Null)?;
            let stream = with(body.clone(), json!({ "stream": true }));
            equal(streamed_calls(&post(address, CHAT, &stream)?)?, found)?;
        }
        // One that is cut before it has a name is nothing, and no text.
        let cut = with(body.clone(), json!({ "tool_choice": "required", "max_tokens": 2 }));
        let whole = ok(address, CHAT, &cut)?;
        equal(&whole["choices"][0]["finish_reason"], &json!("length"))?;
        equal(&whole["choices"][0]["message"]["content"], &json!(""))?;
        // Several calls, as far as they go.
        let body = with(body, json!({ "tool_choice": "required", "parallel_tool_calls": true }));
        must(!calls(&ok(address, CHAT, &body)?["choices"][0]["message"]).is_empty(), || "no call".into())?;

        let tool = json!({ "name": "add", "input_schema": schema() });
        for choice in [json!({ "type": "any" }), json!({ "type": "tool", "name": "add" })] {
            let mut choice = choice;
            choice["disable_parallel_tool_use"] = true.into();
            let body =
                json!({ "messages": messages(), "max_tokens": 200, "tools": [tool], "tool_choice": choice });
            let answer = ok(address, MESSAGES, &body)?;
            equal(&answer["stop_reason"], &json!("tool_use"))?;
            equal(json_schema::fault(&answer["content"][0]["input"], &schema()), None)?;
        }
        let tool = json!({ "type": "function", "name": "add", "parameters": schema() });
        for choice in [json!("required"), json!({ "type": "function", "name": "add" })] {
            let body =
                json!({ "input": "a", "tools": [tool], "tool_choice": choice, "parallel_tool_calls": false });
            let answer = ok(address, RESPONSES, &body)?;
            equal(&answer["output"][0]["type"], &json!("function_call"))?;
            valid(answer["output"][0]["arguments"].as_str().unwrap_or_default(), &schema())?;
        }
        server.idle()?;
    }
    Ok(())
}

/// A server whose model has these control tokens and says this.
fn saying(
    template: &str,
    controls: &'static [&'static str],
    script: &'static str,
) -> Result<Running, Failed> {
    Running::ready(
        &Target::cpu(),
        Plan { template: template.into(), bytes: Some(controls), script, context: 2048, ..Plan::default() },
    )
}

pub fn channels() -> Outcome {
    let script = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{\"city\":\"Oslo\"}";
    let server = saying(IN_CHANNELS, CHANNELS, script)?;
    // Nothing else is said whether it must be or not.
    for choice in ["auto", "required"] {
        let body =
            json!({ "messages": messages(), "tools": tools(), "tool_choice": choice, "max_tokens": 300 });
        let whole = ok(server.address, CHAT, &body)?;
        let message = &whole["choices"][0]["message"];
        equal(&whole["choices"][0]["finish_reason"], &json!("tool_calls"))?;
        equal(message["reasoning_content"].as_str(), Some("Hm."))?;
        equal(&message["content"], &Value::Null)?;
        let expected = vec![("get_weather".to_owned(), "{\"city\":\"Oslo\"}".to_owned())];
        equal(&calls(message), &expected)?;
        let stream = with(body, json!({ "stream": true }));
        equal(&streamed_calls(&post(server.address, CHAT, &stream)?)?, &expected)?;
    }
    let server = saying(
        IN_CHANNELS,
        CHANNELS,
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>{\"ok\": true}",
    )?;
    let format = json!({ "type": "json_object", "schema": { "type": "object", "properties": { "ok": { "type": "boolean" } }, "additionalProperties": false } });
    let body = json!({ "messages": messages(), "response_format": format, "max_tokens": 300 });
    let whole = ok(server.address, CHAT, &body)?;
    equal(
        &whole["choices"][0]["message"],
        &json!({
            "role": "assistant", "content": "{\"ok\": true}", "reasoning_content": "Hm.", "refusal": null, "annotations": [],
        }),
    )?;
    equal(&whole["choices"][0]["finish_reason"], &json!("stop"))?;
    // The grammar holds: what is not in it ends the answer with an error.
    let strict =
        json!({ "type": "json_object", "schema": { "type": "object", "additionalProperties": false } });
    equal(post(server.address, CHAT, &with(body, json!({ "response_format": strict })))?.status, 500)?;
    server.idle()
}

pub fn strict() -> Outcome {
    const MARKS: &[&str] = &["<tool_call>", "</tool_call>"];
    const GOOD: &str =
        "See.\n<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Oslo\"}}\n</tool_call>";
    const BAD: &str =
        "See.\n<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Paris\"}}\n</tool_call>";
    let mut strict = tools();
    strict[0]["function"]["strict"] = true.into();
    let flat = |tools: &Value| -> Value {
        let flat = |tool: &Value| with(tool["function"].clone(), json!({ "type": "function" }));
        tools.as_array().into_iter().flatten().map(flat).collect()
    };
    let theirs = |tools: &Value| -> Value {
        let theirs = |tool: &Value| {
            let function = &tool["function"];
            let mut theirs = json!({ "name": function["name"], "input_schema": function["parameters"] });
            theirs["input_schema"]["type"] = "object".into();
            if function["strict"] == true {
                theirs["strict"] = true.into();
            }
            theirs
        };
        tools.as_array().into_iter().flatten().map(theirs).collect()
    };
    // What is said in spite of the grammar ends the answer with an error: so it is seen to hold.
    for (script, held) in [(GOOD, 200), (BAD, 500)] {
        let server = saying(TEMPLATE, MARKS, script)?;
        for (tools, status) in [(tools(), 200), (strict.clone(), held)] {
            for (path, body) in [
                (CHAT, json!({ "messages": messages(), "tools": tools, "max_tokens": 300 })),
                (RESPONSES, json!({ "input": "a", "tools": flat(&tools), "max_output_tokens": 300 })),
                (MESSAGES, json!({ "messages": messages(), "tools": theirs(&tools), "max_tokens": 300 })),
            ] {
                let response = post(server.address, path, &body)?;
                must(response.status == status, || format!("{body}: {response:?}"))?;
                let calls = response.status != 200 || response.body.contains("get_weather");
                must(calls, || response.body.clone())?;
            }
        }
        server.idle()?;
    }
    Ok(())
}

pub fn thoughts() -> Outcome {
    const MARKS: &[&str] = &["<think>", "</think>"];
    let server = saying(TEMPLATE, MARKS, "<think>It is {yes}.</think>yes")?;
    let body = json!({ "messages": messages(), "regex": "yes|no", "max_tokens": 300 });
    let whole = ok(server.address, CHAT, &body)?;
    let message = &whole["choices"][0]["message"];
    equal(message["reasoning_content"].as_str(), Some("It is {yes}."))?;
    equal(&message["content"], &json!("yes"))?;
    equal(&whole["choices"][0]["finish_reason"], &json!("stop"))
}

pub fn mistakes() -> Outcome {
    let server = Running::ready(&Target::cpu(), Plan::default())?;
    let odd = json!({ "type": "object", "properties": { "a": { "type": "odd" } } });
    let format =
        |schema: &Value| json!({ "type": "json_schema", "json_schema": { "name": "x", "schema": schema } });
    let tool = json!([{ "type": "function", "function": { "name": "f", "parameters": odd } }]);
    let mut strict = tool.clone();
    strict[0]["function"]["strict"] = true.into();
    for (more, param, part) in [
        (json!({ "response_format": format(&odd) }), "response_format.json_schema.schema", "/properties/a"),
        (json!({ "response_format": format(&json!([1])) }), "response_format.json_schema.schema", "schema"),
        (json!({ "response_format": { "type": "json_schema" } }), "response_format.json_schema", "required"),
        (
            json!({ "response_format": { "type": "json_schema", "json_schema": {} } }),
            "response_format.json_schema.schema",
            "required",
        ),
        (json!({ "response_format": { "type": "xml" } }), "response_format.type", "xml"),
        (json!({ "response_format": "json" }), "response_format", "object"),
        (json!({ "json_schema": odd }), "json_schema", "odd"),
        (json!({ "regex": "(" }), "regex", ""),
        (json!({ "grammar": "begin: \"a\"" }), "grammar", "start"),
        (json!({ "grammar": "start: \"a\"", "regex": "a" }), "grammar", "regex"),
        (json!({ "guided_json": odd }), "guided_json", "json_schema"),
        (
            json!({ "tools": tool, "tool_choice": "required" }),
            "tools[0].function.parameters",
            "/properties/a",
        ),
        (json!({ "tools": strict }), "tools[0].function.parameters", "/properties/a"),
        (
            json!({ "tools": tools(), "tool_choice": { "type": "function", "function": { "name": "g" } } }),
            "tool_choice",
            "g",
        ),
        (json!({ "tools": tools(), "tool_choice": { "type": "custom" } }), "tool_choice.type", "function"),
        (json!({ "tool_choice": "required" }), "tool_choice", "tools"),
        (json!({ "tools": tools(), "tool_choice": "required", "regex": "a" }), "regex", "tool_choice"),
    ] {
        let body = with(json!({ "messages": messages() }), more);
        let response = post(server.address, CHAT, &body)?;
        must(response.status == 400, || format!("{body}: {response:?}"))?;
        let error = &response.json()?["error"];
        equal(error["param"].as_str(), Some(param))?;
        must(error["message"].as_str().is_some_and(|m| m.contains(part)), || error.to_string())?;
    }
    server.idle()
}
