//! What is refused, and how: each mistake has its status and names itself, and the server goes on.

use std::io::{BufReader, Read, Write};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use wgllm::serve::Settings;
use wgllm::worker::Capacity;

use crate::adapters::Target;
use crate::client::{chunk, connect, exchange, get, head, ok, post, read, request};
use crate::server::{Plan, Running};
use crate::{Outcome, equal, must};

const CHAT: &str = "/v1/chat/completions";
const TEXT: &str = "/v1/completions";

fn with(settings: Settings) -> Plan {
    let mut plan = Plan::default();
    plan.settings = Settings { sampling: plan.settings.sampling.clone(), ..settings };
    plan
}

fn goes_on(server: &Running) -> Outcome {
    let answer = ok(server.address, TEXT, &json!({ "prompt": "Once upon a time", "max_tokens": 2 }))?;
    equal(answer["choices"][0]["text"].as_str(), Some(", there"))?;
    server.idle()
}

pub fn fields() -> Outcome {
    let server = Running::ready(&Target::cpu(), Plan::default())?;
    let user = json!([{ "role": "user", "content": "a" }]);
    // A field, and what is wrong with it.
    let of_all: &[(&str, Value)] = &[
        ("temperature", json!("hot")),
        ("temperature", json!(-1)),
        ("temperature", json!([])),
        ("top_p", json!(1.5)),
        ("top_p", json!({})),
        ("top_k", json!(1.5)),
        ("min_p", json!(true)),
        ("presence_penalty", json!(3)),
        ("frequency_penalty", json!("x")),
        ("repeat_penalty", json!(0)),
        ("seed", json!("x")),
        ("seed", json!(1.5)),
        ("seed", json!(9_223_372_036_854_775_808_u64)),
        ("max_tokens", json!(0)),
        ("max_tokens", json!(-2)),
        ("max_tokens", json!(1e30)),
        ("max_tokens", json!("many")),
        ("n", json!(0)),
        ("n", json!(1_000_000_000)),
        ("n", json!(1.5)),
        ("stop", json!(7)),
        ("stop", json!([7])),
        (
            "stop",
            json!(["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q"]),
        ),
        ("stream", json!("yes")),
        ("stream_options", json!({ "include_usage": true })),
        ("logit_bias", json!([])),
        ("logit_bias", json!({ "x": 1 })),
        ("logit_bias", json!({ "1": 101 })),
        ("logit_bias", json!({ "1000000": 1 })),
        ("logit_bias", json!({ "1": "a" })),
        ("response_format", json!({ "type": "xml" })),
        ("response_format", json!({})),
        ("response_format", json!("text")),
        ("grammar", json!("root ::= x")),
    ];
    let of_chats: &[(&str, Value)] = &[
        ("messages", json!("hi")),
        ("messages", json!(null)),
        ("messages", json!([])),
        ("messages", json!([1])),
        ("messages", json!([{}])),
        ("messages", json!([{ "role": 1 }])),
        ("messages", json!([{ "role": "nobody", "content": "a" }])),
        ("messages", json!([{ "role": "user" }])),
        ("messages", json!([{ "role": "user", "content": 1 }])),
        ("messages", json!([{ "role": "user", "content": [1] }])),
        ("messages", json!([{ "role": "user", "content": [{ "type": "text" }] }])),
        (
            "messages",
            json!([{ "role": "user", "content": [{ "type": "image_url", "image_url": { "url": "x" } }] }]),
        ),
        ("messages", json!([{ "role": "assistant", "tool_calls": [{ "id": 1 }] }])),
        ("tools", json!("f")),
        ("tools", json!([1])),
        ("tools", json!([{ "type": "function" }])),
        ("tools", json!([{ "type": "web_search" }])),
        ("tool_choice", json!("required")),
        ("tool_choice", json!({ "type": "function", "function": { "name": "f" } })),
        ("tool_choice", json!(7)),
        ("top_logprobs", json!(3)),
        ("logprobs", json!(3)),
        ("modalities", json!(["audio"])),
        ("functions", json!([])),
        ("reasoning_effort", json!("utmost")),
        ("chat_template_kwargs", json!([])),
        ("parallel_tool_calls", json!("no")),
    ];
    let of_texts: &[(&str, Value)] = &[
        ("prompt", json!(null)),
        ("prompt", json!(7)),
        ("prompt", json!([])),
        ("prompt", json!([[]])),
        ("prompt", json!([1, "a"])),
        ("prompt", json!([1_000_000])),
        ("prompt", json!([-1])),
        ("logprobs", json!(99)),
        ("logprobs", json!(true)),
        ("suffix", json!("x")),
        ("best_of", json!(3)),
    ];
    let chat = json!({ "messages": user });
    let text = json!({ "prompt": "a" });
    let cases = of_all.iter().flat_map(|case| [(CHAT, &chat, case), (TEXT, &text, case)]);
    let cases = cases.chain(of_chats.iter().map(|case| (CHAT, &chat, case)));
    for (path, body, (name, value)) in cases.chain(of_texts.iter().map(|case| (TEXT, &text, case))) {
        let mut body = body.clone();
        body[*name] = value.clone();
        let response = post(server.address, path, &body)?;
        equal(response.status, 400)
            .map_err(|e| format!("{path} {body}: {}", e.message().unwrap_or_default()))?;
        let error = response.json()?;
        let (message, param) = (error["error"]["message"].to_string(), error["error"]["param"].to_string());
        must(message.contains(name) && param.contains(name), || format!("{path} {body}: {error}"))?;
        equal(&error["error"]["type"], &json!("invalid_request_error"))?;
    }
    goes_on(&server)
}

pub fn deep() -> Outcome {
    let server = Running::ready(&Target::cpu(), Plan::default())?;
    let said = |content: Value| json!({ "messages": [{ "role": "user", "content": content }] });
    let cases = [
        (
            CHAT,
            said(json!([{ "type": "text", "text": "a" }, { "type": "text" }])),
            "messages[0].content[1].text",
        ),
        (CHAT, said(json!([{ "type": "image_url" }])), "messages[0].content[0].type"),
        (CHAT, said(json!([{ "text": "a" }])), "messages[0].content[0].type"),
        (CHAT, json!({ "messages": [{ "role": "nobody", "content": "a" }] }), "messages[0].role"),
        (TEXT, json!({ "prompt": [["a"]] }), "prompt[0][0]"),
        (TEXT, json!({ "prompt": [7, 1_000_000] }), "prompt[1]"),
        (TEXT, json!({ "prompt": [5_000_000_000_u64] }), "prompt[0]"),
        (TEXT, json!({ "prompt": ["a", []] }), "prompt[1]"),
        (TEXT, json!({ "prompt": "a", "logit_bias": { "7": 101 } }), "logit_bias.7"),
        (
            "/v1/responses",
            json!({ "input": [{ "type": "function_call", "call_id": "c", "name": "f" }] }),
            "input[0].arguments",
        ),
        ("/v1/responses", json!({ "input": [{ "type": "item_reference" }] }), "input[0].type"),
        (
            "/v1/responses",
            json!({ "input": [{ "role": "user", "content": [{ "type": "input_image" }] }] }),
            "input[0].content[0].type",
        ),
        ("/detokenize", json!({ "tokens": [-1] }), "tokens[0]"),
    ];
    for (path, body, name) in cases {
        let response = post(server.address, path, &body)?;
        must(response.status == 400, || format!("{path} {body}: {response:?}"))?;
        let error = response.json()?["error"].clone();
        must(error["param"] == name, || format!("{path} {body}: {error}"))?;
    }
    // A whole number may be written with a point, and `null` is the same as nothing.
    let body = json!({ "prompt": "Once", "max_tokens": 2.0, "n": 2.0, "top_k": null, "stop": null });
    equal(ok(server.address, TEXT, &body)?["choices"].as_array().map(Vec::len), Some(2))?;
    // What asks for nothing is no mistake, nor is what assistants said in refusal.
    let body = json!({ "prompt": "Once", "max_tokens": 2, "suffix": "", "seed": i64::MAX, "logit_bias": {} });
    ok(server.address, TEXT, &body)?;
    let said = json!([{ "role": "assistant", "content": [{ "type": "refusal", "refusal": "I will not" }] }]);
    let rendered = ok(server.address, "/apply-template", &json!({ "messages": said }))?;
    must(rendered["prompt"].as_str().is_some_and(|p| p.contains("I will not")), || rendered.to_string())?;
    goes_on(&server)
}

pub fn bodies() -> Outcome {
    let server =
        Running::ready(&Target::cpu(), with(Settings { body_limit: 1 << 20, ..Settings::default() }))?;
    let deep = "[".repeat(100_000);
    let nested = format!("{{\"messages\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    let cases: &[&[u8]] = &[
        b"",
        b"  ",
        b"{",
        b"{\"messages\": [",
        b"[]",
        b"7",
        b"null",
        b"\"text\"",
        b"{\"prompt\": \"\xff\xfe\"}",
        b"\x00\x01\x02",
        b"{\"prompt\": \"a\"} more",
        b"{\"temperature\": 1e999, \"prompt\": \"a\"}",
        b"{\"prompt\": \"\\ud800\"}",
        deep.as_bytes(),
        nested.as_bytes(),
    ];
    for path in [CHAT, TEXT, "/tokenize", "/detokenize", "/apply-template"] {
        for body in cases {
            let response = exchange(server.address, &request("POST", path, &[], body))?;
            let shown = String::from_utf8_lossy(&body[..body.len().min(40)]).into_owned();
            must(response.status == 400, || format!("{path} {shown:?}: {response:?}"))?;
            must(response.json()?["error"]["message"].is_string(), || format!("{response:?}"))?;
        }
    }
    let huge = vec![b' '; (1 << 20) + 1];
    equal(exchange(server.address, &request("POST", CHAT, &[], &huge))?.status, 413)?;
    // Whoever sends all of it before it looks for an answer finds one.
    let mut stream = connect(server.address)?;
    stream.write_all(&request("POST", CHAT, &[], &huge.repeat(3)))?;
    equal(read(&mut BufReader::new(stream))?.status, 413)?;
    // Without a length, it is counted.
    let mut bytes = b"POST /v1/completions HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..40 {
        bytes.extend(b"8000\r\n");
        bytes.extend([b' '; 0x8000]);
        bytes.extend(b"\r\n");
    }
    bytes.extend(b"0\r\n\r\n");
    equal(exchange(server.address, &bytes)?.status, 413)?;
    // What is no HTTP ends its own connection.
    for bytes in [&b"\x16\x03\x01\x02\x00\x01"[..], b"GARBAGE\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"] {
        let mut stream = connect(server.address)?;
        stream.write_all(bytes)?;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        must(!answer.starts_with(b"HTTP/1.1 200"), || String::from_utf8_lossy(&answer).into_owned())?;
    }
    // Packed, it is not read; marked as UTF-8, it is.
    let body =
        [b"\xef\xbb\xbf", json!({ "prompt": "Once", "max_tokens": 2 }).to_string().as_bytes()].concat();
    for (coding, status) in [("gzip", 415), ("identity", 200)] {
        let headers = [("content-encoding", coding)];
        equal(exchange(server.address, &request("POST", TEXT, &headers, &body))?.status, status)?;
    }
    // A body that ends too early.
    let mut stream = connect(server.address)?;
    stream
        .write_all(b"POST /v1/completions HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\n{\"prompt\"")?;
    drop(stream);
    goes_on(&server)
}

pub fn too_long() -> Outcome {
    let server = Running::ready(&Target::cpu(), Plan { context: 64, ..Plan::default() })?;
    let long = "word ".repeat(200);
    for stream in [false, true] {
        let body = json!({ "prompt": long, "stream": stream });
        let response = post(server.address, TEXT, &body)?;
        equal(response.status, 400)?;
        let error = response.json()?["error"].clone();
        equal(&error["code"], &json!("context_length_exceeded"))?;
        equal(&error["n_ctx"], &json!(64))?;
        let needed = error["n_prompt_tokens"].as_u64().unwrap_or_default();
        must(needed > 200, || error.to_string())?;
        must(error["message"].as_str().is_some_and(|m| m.contains(&needed.to_string())), || {
            error.to_string()
        })?;
    }
    // As much as fits is answered up to the end of the context.
    let body = json!({ "prompt": "Once upon a time", "max_tokens": 1000 });
    let answer = ok(server.address, TEXT, &body)?;
    equal(&answer["choices"][0]["finish_reason"], &json!("length"))?;
    equal(answer["usage"]["total_tokens"].as_u64(), Some(65))
}

pub fn paths() -> Outcome {
    let server = Running::ready(&Target::cpu(), Plan::default())?;
    for path in ["/v1/nothing", "/v1/chat/completions/x", "//", "/%ff%00"] {
        let response = get(server.address, path)?;
        equal(response.status, 404)?;
        equal(&response.json()?["error"]["type"], &json!("not_found_error"))?;
    }
    let wrong = get(server.address, CHAT)?;
    must(wrong.status == 405 && wrong.headers.contains("allow: post"), || format!("{wrong:?}"))?;
    equal(post(server.address, "/v1/models", &json!({}))?.status, 405)?;
    // Anthropic's clients have their own form of errors.
    for (path, status) in [("/v1/messages", 405), ("/v1/messages/nothing", 404)] {
        let response = get(server.address, path)?;
        equal(response.status, status)?;
        equal(&response.json()?["type"], &json!("error"))?;
    }
    let models = get(server.address, "/v1/models")?.json()?;
    equal(&models["data"][0]["display_name"], &models["first_id"])?;
    goes_on(&server)
}

pub fn keys() -> Outcome {
    let keys = vec!["first-key".into(), "second-key".into()];
    let server = Running::ready(&Target::cpu(), with(Settings { keys, ..Settings::default() }))?;
    let body = json!({ "prompt": "Once upon a time", "max_tokens": 2 }).to_string();
    let cases = [
        (None, 401),
        (Some(("authorization", "Bearer wrong")), 401),
        (Some(("authorization", "Bearer first-ke")), 401),
        (Some(("authorization", "Bearer first-key2")), 401),
        (Some(("authorization", "first-key")), 401),
        (Some(("authorization", "Bearer ")), 401),
        (Some(("x-api-key", "")), 401),
        (Some(("authorization", "Bearer first-key")), 200),
        (Some(("authorization", "bearer second-key")), 200),
        (Some(("x-api-key", "second-key")), 200),
    ];
    for (header, status) in cases {
        let headers: Vec<_> = header.into_iter().collect();
        for (method, path, body) in
            [("POST", TEXT, body.as_str()), ("GET", "/v1/models", ""), ("GET", "/metrics", "")]
        {
            let response = exchange(server.address, &request(method, path, &headers, body.as_bytes()))?;
            must(response.status == status, || format!("{header:?} {path}: {response:?}"))?;
        }
    }
    equal(get(server.address, "/health")?.status, 200)
}

pub fn origins() -> Outcome {
    let server = Running::ready(&Target::cpu(), Plan::default())?;
    let from = |server: &Running, method: &str, origin: &str| {
        exchange(server.address, &request(method, "/v1/models", &[("origin", origin)], b""))
    };
    equal(from(&server, "GET", "http://elsewhere.example")?.status, 403)?;
    equal(from(&server, "GET", "null")?.status, 403)?;
    let own = from(&server, "GET", "http://localhost")?;
    equal(own.status, 200)?;
    must(!own.headers.contains("access-control"), || own.headers.clone())?;
    // A name that somebody lets point here.
    let rebound = request("GET", "/v1/models", &[("origin", "http://rebound.example")], b"");
    let rebound = String::from_utf8(rebound)?.replace("host: localhost", "host: rebound.example");
    equal(exchange(server.address, rebound.as_bytes())?.status, 403)?;
    let origins = vec!["http://elsewhere.example".into()];
    let open = Running::ready(&Target::cpu(), with(Settings { origins, ..Settings::default() }))?;
    let named = from(&open, "GET", "http://elsewhere.example")?;
    must(named.headers.contains("access-control-allow-origin: http://elsewhere.example"), || {
        named.headers.clone()
    })?;
    let preflight = from(&open, "OPTIONS", "http://elsewhere.example")?;
    equal(preflight.status, 204)?;
    must(preflight.headers.contains("access-control-allow-methods"), || preflight.headers.clone())?;
    equal(from(&open, "GET", "http://another.example")?.status, 403)
}

pub fn slow() -> Outcome {
    let body_time = Duration::from_millis(300);
    let server =
        Running::ready(&Target::cpu(), with(Settings { body_time, connections: 8, ..Settings::default() }))?;
    let mut stream = connect(server.address)?;
    stream
        .write_all(b"POST /v1/completions HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\n{\"prompt\"")?;
    let start = Instant::now();
    let mut from = BufReader::new(stream);
    equal(head(&mut from)?.0, 408)?;
    must(start.elapsed() < Duration::from_secs(5), || "it was waited for".into())?;
    // Connections that send nothing take places, and give them back.
    let idle: Vec<_> = (0..7).map(|_| connect(server.address)).collect::<Result<_, _>>()?;
    goes_on(&server)?;
    drop(idle);
    // An answer may not take for ever.
    let request_time = Duration::from_millis(100);
    let server = Running::ready(&Target::cpu(), with(Settings { request_time, ..Settings::default() }))?;
    let long = json!({ "prompt": "Once", "logit_bias": { "2": -100, "1": -100, "0": -100 } });
    equal(post(server.address, TEXT, &long)?.status, 504)?;
    server.idle()
}

pub fn loading() -> Outcome {
    let server =
        Running::start(&Target::cpu(), Plan { delay: Duration::from_millis(700), ..Plan::default() })?;
    for path in ["/health", "/ready", "/v1/models"] {
        let response = get(server.address, path)?;
        equal(response.status, 503)?;
        equal(&response.json()?["error"]["type"], &json!("unavailable_error"))?;
    }
    equal(post(server.address, TEXT, &json!({ "prompt": "a" }))?.status, 503)?;
    equal(get(server.address, "/metrics")?.status, 200)?;
    server.wait("the model", || Ok(get(server.address, "/health")?.status == 200))
}

pub fn draining() -> Outcome {
    let capacity = Capacity { running: 2, waiting: 4 };
    let mut server = Running::ready(&Target::cpu(), Plan { capacity, ..Plan::default() })?;
    let body = json!({ "prompt": "Once upon a time", "stream": true });
    let mut stream = connect(server.address)?;
    stream.write_all(&request("POST", TEXT, &[], body.to_string().as_bytes()))?;
    let mut from = BufReader::new(stream);
    equal(head(&mut from)?.0, 200)?;
    chunk(&mut from)?;
    server.end();
    // Who comes now is refused, and need not wait to see it.
    server.wait("a refusal", || Ok(connect(server.address).is_err()))?;
    let mut text = Vec::new();
    while let Some(chunk) = chunk(&mut from)? {
        text.extend(chunk);
    }
    let text = String::from_utf8(text)?;
    must(text.ends_with("data: [DONE]\n\n"), || format!("it was broken off: {text}"))?;
    let address = server.address;
    drop(server);
    must(connect(address).is_err(), || "it still listens".into())
}
