//! Answers: their text, their shapes, and how they end.

use serde_json::{Value, json};

use crate::adapters::Target;
use crate::client::{get, ok, post};
use crate::server::{Plan, Running, alone};
use crate::{Outcome, equal, must};

const PROMPT: &str = "Once upon a time";

pub fn story(target: &Target) -> Outcome {
    let server = Running::ready(target, Plan::default())?;
    let expected = &alone(target, &[PROMPT.into()], 400)?[0];
    must(expected.starts_with(", there was a little girl named Lily."), || format!("it is {expected:?}"))?;
    let whole = ok(server.address, "/v1/completions", &json!({ "prompt": PROMPT, "max_tokens": 400 }))?;
    equal(whole["choices"][0]["text"].as_str(), Some(expected.as_str()))?;
    equal(whole["choices"][0]["finish_reason"].as_str(), Some("stop"))?;
    equal(&whole["object"], &json!("text_completion"))?;
    equal(&whole["model"], &json!("story"))?;
    let usage = &whole["usage"];
    equal(usage["prompt_tokens"].as_u64(), Some(5))?;
    // 197, and the end token.
    equal(usage["completion_tokens"].as_u64(), Some(198))?;
    equal(usage["total_tokens"].as_u64(), Some(203))?;

    let asked = json!({
        "prompt": PROMPT, "max_tokens": 400, "stream": true, "stream_options": { "include_usage": true },
    });
    let response = post(server.address, "/v1/completions", &asked)?;
    equal(response.status, 200)?;
    must(response.headers.contains("content-type: text/event-stream"), || response.headers.clone())?;
    let events = response.events()?;
    let text: String = events.iter().filter_map(|e| e["choices"][0]["text"].as_str()).collect();
    equal(text.as_str(), expected.as_str())?;
    must(events.len() > 150, || format!("{} events: they do not come as they are made", events.len()))?;
    let last = events.last().ok_or("no events")?;
    equal(&last["choices"], &json!([]))?;
    // What was computed for the first one is there.
    equal(last["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64(), Some(0))?;
    equal(events[events.len() - 2]["choices"][0]["finish_reason"].as_str(), Some("stop"))?;
    must(events.iter().all(|e| e["id"] == events[0]["id"]), || "ids differ".into())
}

pub fn chats() -> Outcome {
    let server = Running::ready(&Target::cpu(), Plan::default())?;
    let messages = json!([
        { "role": "developer", "content": "Tell" },
        { "role": "user", "content": [{ "type": "text", "text": "a " }, { "type": "text", "text": "story" }] },
    ]);
    let rendered = ok(server.address, "/apply-template", &json!({ "messages": messages }))?;
    equal(&rendered["prompt"], &json!("system: Tell\nuser: a story\nOnce upon a time"))?;
    let asked = json!({ "messages": messages, "max_tokens": 12, "user": "x", "unheard_of": { "y": 1 } });
    let whole = ok(server.address, "/v1/chat/completions", &asked)?;
    equal(&whole["object"], &json!("chat.completion"))?;
    let choice = &whole["choices"][0];
    equal(&choice["message"]["role"], &json!("assistant"))?;
    equal(&choice["finish_reason"], &json!("length"))?;
    equal(whole["usage"]["completion_tokens"].as_u64(), Some(12))?;
    let text = choice["message"]["content"].as_str().ok_or("no content")?;

    let mut streamed = asked.clone();
    streamed["stream"] = true.into();
    let events = post(server.address, "/v1/chat/completions", &streamed)?.events()?;
    equal(&events[0]["choices"][0]["delta"], &json!({ "role": "assistant", "content": "" }))?;
    equal(&events[0]["object"], &json!("chat.completion.chunk"))?;
    let delta = |e: &Value| e["choices"][0]["delta"]["content"].as_str().map(str::to_owned);
    equal(events.iter().filter_map(delta).collect::<String>().as_str(), text)?;
    let last = events.last().ok_or("no events")?;
    equal(&last["choices"][0]["finish_reason"], &json!("length"))?;
    must(events.iter().all(|e| e.get("usage").is_none()), || "usage was not asked for".into())?;

    // Behind a thought that the template begins, all is thought until it ends.
    let mut thinking = asked.clone();
    thinking["reasoning_effort"] = "low".into();
    let prompt = ok(server.address, "/apply-template", &thinking)?;
    must(prompt["prompt"].as_str().is_some_and(|p| p.contains("<think>")), || prompt.to_string())?;

    // Tools are given to the template; what is no call stays text.
    let mut tools = asked.clone();
    tools["tools"] = json!([{ "type": "function", "function": { "name": "f", "parameters": {} } }]);
    let with_tools = ok(server.address, "/v1/chat/completions", &tools)?;
    must(with_tools["choices"][0]["message"]["content"].is_string(), || with_tools.to_string())?;
    must(with_tools["choices"][0]["message"].get("tool_calls").is_none(), || with_tools.to_string())?;
    tools["tool_choice"] = "none".into();
    let prompt = ok(server.address, "/apply-template", &tools)?;
    equal(&prompt["prompt"], &rendered["prompt"])?;

    for path in ["/v1/models", "/models"] {
        let models = get(server.address, path)?.json()?;
        equal(&models["data"][0]["id"], &json!("story"))?;
    }
    equal(get(server.address, "/v1/models/story")?.status, 200)?;
    equal(get(server.address, "/v1/models/another")?.status, 404)?;
    equal(&get(server.address, "/props")?.json()?["total_slots"], &json!(4))?;
    equal(get(server.address, "/ready")?.status, 200)?;
    let page = get(server.address, "/")?;
    must(page.status == 200 && page.body.contains("v1/chat/completions"), || format!("{page:?}"))?;
    must(page.headers.contains("content-security-policy: default-src 'none'"), || page.headers.clone())?;
    let metrics = get(server.address, "/metrics")?.body;
    for part in [
        "wgllm_requests_total{path=\"/v1/chat/completions\",status=\"200\",complete=\"true\"} 3",
        "wgllm_slots 4",
        "wgllm_first_token_seconds_count 3",
        "wgllm_completion_tokens_total 36",
    ] {
        must(metrics.contains(part), || format!("no {part:?} in {metrics}"))?;
    }
    Ok(())
}

pub fn ends() -> Outcome {
    let server = Running::ready(&Target::cpu(), Plan::default())?;
    let text = |body: Value| -> Result<(String, String), libtest_mimic::Failed> {
        let answer = ok(server.address, "/v1/completions", &body)?;
        let choice = &answer["choices"][0];
        Ok((
            choice["text"].as_str().unwrap_or("?").into(),
            choice["finish_reason"].as_str().unwrap_or("?").into(),
        ))
    };
    equal(text(json!({ "prompt": PROMPT, "stop": " little" }))?, (", there was a".into(), "stop".into()))?;
    equal(
        text(json!({ "prompt": PROMPT, "stop": ["Tom", " girl na"] }))?,
        (", there was a little".into(), "stop".into()),
    )?;
    equal(text(json!({ "prompt": PROMPT, "max_tokens": 3 }))?.1, "length".into())?;
    // Alone it ends at its 198th token.
    equal(text(json!({ "prompt": PROMPT, "max_tokens": 220, "ignore_eos": true }))?.1, "length".into())?;
    equal(
        text(json!({ "prompt": PROMPT, "stop": " little", "echo": true }))?.0,
        format!("{PROMPT}, there was a"),
    )?;
    // A stop string that is cut into pieces is not in what is streamed.
    let asked = json!({ "prompt": PROMPT, "stop": "girl named", "stream": true });
    let events = post(server.address, "/v1/completions", &asked)?.events()?;
    let streamed: String = events.iter().filter_map(|e| e["choices"][0]["text"].as_str()).collect();
    equal(streamed.as_str(), ", there was a little ")?;

    let asked =
        json!({ "prompt": [PROMPT, "The dog"], "n": 2, "max_tokens": 8, "temperature": 1.0, "seed": 7 });
    let many = ok(server.address, "/v1/completions", &asked)?;
    let texts: Vec<_> = (0..4).map(|n| many["choices"][n]["text"].to_string()).collect();
    must(texts.iter().all(|t| t.len() > 4) && texts[0] != texts[1], || format!("{texts:?}"))?;
    equal(many["usage"]["completion_tokens"].as_u64(), Some(32))?;
    equal(many["choices"][3]["index"].as_u64(), Some(3))?;
    // The same seed gives the same texts.
    let again = ok(server.address, "/v1/completions", &asked)?;
    equal(&again["choices"], &many["choices"])?;
    // Choices that are streamed are told apart by their index, and each ends once.
    let asked =
        json!({ "messages": [{ "role": "user", "content": "a" }], "n": 3, "max_tokens": 5, "stream": true });
    let events = post(server.address, "/v1/chat/completions", &asked)?.events()?;
    for n in 0..3 {
        let of = |e: &&Value| e["choices"][0]["index"] == n && !e["choices"][0]["finish_reason"].is_null();
        equal(events.iter().filter(of).count(), 1)?;
    }
    server.idle()
}

pub fn sampling() -> Outcome {
    let server = Running::ready(&Target::cpu(), Plan::default())?;
    let ids = ok(server.address, "/tokenize", &json!({ "content": PROMPT }))?;
    let text = |more: Value| -> Result<String, libtest_mimic::Failed> {
        let mut body = json!({ "prompt": PROMPT, "max_tokens": 60 });
        for (key, value) in more.as_object().into_iter().flatten() {
            body[key] = value.clone();
        }
        Ok(ok(server.address, "/v1/completions", &body)?["choices"][0]["text"].to_string())
    };
    let plain = text(json!({}))?;
    let once = ids["tokens"][1].to_string();
    let bias = text(json!({ "logit_bias": { &once: 100 }, "max_tokens": 2 }))?;
    let piece =
        ok(server.address, "/detokenize", &json!({ "tokens": [ids["tokens"][1], ids["tokens"][1]] }))?;
    equal(bias.trim_matches('"').trim(), piece["content"].as_str().unwrap_or_default().trim())?;
    must(text(json!({ "frequency_penalty": 2 }))? != plain, || "a penalty changes nothing".into())?;
    must(text(json!({ "presence_penalty": 2 }))? != plain, || "a penalty changes nothing".into())?;
    must(text(json!({ "repeat_penalty": 1.8 }))? != plain, || "a penalty changes nothing".into())?;
    equal(text(json!({ "temperature": 0, "top_k": -1, "seed": -1 }))?, plain)
}

pub fn logprobs(target: &Target) -> Outcome {
    let server = Running::ready(target, Plan::default())?;
    let messages = json!([{ "role": "user", "content": "a" }]);
    let plain = json!({ "messages": messages, "max_tokens": 6 });
    let text =
        ok(server.address, "/v1/chat/completions", &plain)?["choices"][0]["message"]["content"].clone();
    let asked = json!({ "messages": messages, "max_tokens": 6, "logprobs": true, "top_logprobs": 3 });
    let answer = ok(server.address, "/v1/chat/completions", &asked)?;
    let choice = &answer["choices"][0];
    equal(&choice["message"]["content"], &text)?;
    let entries = choice["logprobs"]["content"].as_array().ok_or("no logprobs")?;
    equal(entries.len(), 6)?;
    for entry in entries {
        let top = entry["top_logprobs"].as_array().ok_or("no top")?;
        equal(top.len(), 3)?;
        // Greedy: the likeliest is chosen.
        equal(&top[0]["token"], &entry["token"])?;
        let values: Vec<f64> = top.iter().filter_map(|t| t["logprob"].as_f64()).collect();
        must(values.is_sorted_by(|a, b| a >= b) && values.iter().all(|&l| l <= 0.0), || {
            format!("{values:?}")
        })?;
        must(values.iter().map(|l| l.exp()).sum::<f64>() <= 1.0001, || format!("{values:?}"))?;
    }
    let bytes: Vec<u8> = entries
        .iter()
        .flat_map(|e| e["bytes"].as_array().into_iter().flatten())
        .filter_map(|b| b.as_u64())
        .map(|b| b as u8)
        .collect();
    equal(String::from_utf8(bytes)?.as_str(), text.as_str().unwrap_or_default())?;
    // Beside one that asks for them, another gets the same as alone.
    let mut streamed = asked.clone();
    streamed["stream"] = true.into();
    let address = server.address;
    let beside = std::thread::spawn(move || ok(address, "/v1/chat/completions", &plain));
    let events = post(server.address, "/v1/chat/completions", &streamed)?.events()?;
    let count = |e: &Value| e["choices"][0]["logprobs"]["content"].as_array().map_or(0, Vec::len);
    equal(events.iter().map(count).sum::<usize>(), 6)?;
    let beside = beside.join().map_err(|_| "the other client failed")??;
    equal(&beside["choices"][0]["message"]["content"], &text)?;
    let legacy = json!({ "prompt": PROMPT, "max_tokens": 4, "logprobs": 2 });
    let legacy = ok(server.address, "/v1/completions", &legacy)?;
    let legacy = &legacy["choices"][0]["logprobs"];
    equal(legacy["tokens"].as_array().map(Vec::len), Some(4))?;
    equal(legacy["top_logprobs"][0].as_object().map(|top| top.len()), Some(2))
}

pub fn tokens() -> Outcome {
    let server = Running::ready(&Target::cpu(), Plan::default())?;
    let text = "The café is 🐶";
    let ids = ok(server.address, "/tokenize", &json!({ "content": text }))?;
    let back = ok(server.address, "/detokenize", &ids)?;
    equal(back["content"].as_str().map(str::trim), Some(text))?;
    let with_bos = ok(server.address, "/tokenize", &json!({ "content": text, "add_special": true }))?;
    let count = |ids: &Value| ids["tokens"].as_array().map(Vec::len).unwrap_or_default();
    equal(count(&with_bos), count(&ids) + 1)?;
    let pieces = ok(server.address, "/tokenize", &json!({ "content": text, "with_pieces": true }))?;
    must(pieces["tokens"][0]["piece"].is_string(), || pieces.to_string())?;
    equal(&ok(server.address, "/tokenize", &json!({}))?["tokens"], &json!([]))
}
