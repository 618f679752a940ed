//! `POST /v1/chat/completions`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode};
use serde_json::{Value, json};

use super::failure::{Failure, json_response};
use super::generation::{Generation, Part, Prompt, Reason, Started, TokenLogprob, Usage, Wanted};
use super::params::{Params, fresh_id};
use super::served::Served;
use super::{App, constrained, conversation, sse};

/// What asks for something that is not there.
const UNSUPPORTED: &[&str] = &["functions", "function_call", "audio", "prediction", "web_search_options"];

/// Answers a conversation.
pub async fn completions(State(app): State<Arc<App>>, request: Request) -> Result<Response<Body>, Failure> {
    let served = app.served()?;
    let (entry, mut fields) = app.fields(request).await?;
    let mut params = Params::read(
        &mut fields,
        &app.settings.sampling,
        &["max_completion_tokens", "max_tokens", "n_predict"],
    )?;
    let top = fields.whole("top_logprobs", 0..=i64::MAX)?;
    match (fields.flag("logprobs")?.unwrap_or(false), top) {
        (true, top) => params.set_logprobs("top_logprobs", top.unwrap_or(0))?,
        (false, Some(_)) => return Err(Failure::field("top_logprobs", "needs 'logprobs': true")),
        (false, None) => {}
    }
    let format = constrained::output_format(&mut fields)?;
    for name in UNSUPPORTED {
        fields.refuse(name, "is not supported")?;
    }
    if fields.list("modalities")?.is_some_and(|kinds| kinds.iter().any(|kind| kind != "text")) {
        return Err(Failure::unsupported("modalities", "asks for more than text"));
    }
    let mut asked = conversation::read(&mut fields, &served)?;
    asked.structure.format = format;
    let (calls, one_call) = (asked.calls, asked.structure.one_call);
    let prompt = app.prompt(served.clone(), asked, &entry).await?;
    let shape = Shape { id: fresh_id("chatcmpl-", 24), created: app.now(), model: served.name.clone() };
    let (stream, include_usage) = (params.stream, params.include_usage);
    let wanted = Wanted { prompts: vec![prompt], params, calls, one_call };
    let mut started = Started::new(&app, &served, wanted, &entry)?;
    started.begun().await?;
    if !stream {
        let body = shape.whole(Generation::new(&served, started)).await?;
        return Ok(json_response(StatusCode::OK, &body));
    }
    let run = async move |events: sse::Events| {
        let generation = Generation::new(&served, started);
        shape.streamed(generation, include_usage, &events).await
    };
    Ok(sse::respond(entry, run, sse::openai_error))
}

/// What is the same in all of an answer.
struct Shape {
    id: String,
    created: u64,
    model: String,
}

/// A choice that is put together.
#[derive(Default)]
struct Message {
    content: String,
    reasoning: String,
    calls: Vec<(String, String, String)>,
    logprobs: Vec<Value>,
    finish: &'static str,
}

impl Shape {
    async fn whole(&self, mut generation: Generation<'_>) -> Result<Value, Failure> {
        let mut messages: Vec<Message> = Vec::new();
        let mut with_logprobs = false;
        while let Some((n, part)) = generation.next().await? {
            while messages.len() <= n {
                messages.push(Message::default());
            }
            let message = &mut messages[n];
            match part {
                Part::Reasoning(text) => message.reasoning += &text,
                Part::Text(text) => message.content += &text,
                Part::Call { id, name, .. } => message.calls.push((id, name, String::new())),
                Part::Arguments { text, .. } => {
                    if let Some((_, _, arguments)) = message.calls.last_mut() {
                        *arguments += &text;
                    }
                }
                Part::Logprob(logprob) => {
                    with_logprobs = true;
                    message.logprobs.push(token(generation.served(), &logprob));
                }
                Part::Finished(reason) => message.finish = reason.name(),
            }
        }
        let choice = |(index, message): (usize, Message)| {
            let mut said = json!({ "role": "assistant", "content": message.content });
            if !message.reasoning.is_empty() {
                said["reasoning_content"] = message.reasoning.into();
            }
            if !message.calls.is_empty() {
                if message.content.is_empty() {
                    said["content"] = Value::Null;
                }
                let call = |(id, name, arguments)| json!({ "id": id, "type": "function", "function": { "name": name, "arguments": arguments } });
                said["tool_calls"] = message.calls.into_iter().map(call).collect();
            }
            let logprobs = with_logprobs.then(|| json!({ "content": message.logprobs, "refusal": null }));
            json!({ "index": index, "message": said, "logprobs": logprobs, "finish_reason": message.finish })
        };
        let choices: Vec<Value> = messages.into_iter().enumerate().map(choice).collect();
        let mut body = self.body("chat.completion", json!(choices));
        body["usage"] = usage(&generation.usage);
        Ok(body)
    }

    async fn streamed(
        &self,
        mut generation: Generation<'_>,
        include_usage: bool,
        events: &sse::Events,
    ) -> Result<(), Failure> {
        let mut begun = Vec::new();
        // Of tokens whose text has not come yet.
        let mut logprobs: Vec<Vec<Value>> = Vec::new();
        while let Some((n, part)) = generation.next().await? {
            while begun.len() <= n {
                begun.push(false);
                logprobs.push(Vec::new());
            }
            if !std::mem::replace(&mut begun[n], true) {
                self.chunk(n, json!({ "role": "assistant", "content": "" }), None, None, events).await;
            }
            let mut finish = None;
            let delta = match part {
                Part::Logprob(logprob) => {
                    logprobs[n].push(token(generation.served(), &logprob));
                    continue;
                }
                Part::Reasoning(text) => json!({ "reasoning_content": text }),
                Part::Text(text) => json!({ "content": text }),
                Part::Call { index, id, name } => {
                    let function = json!({ "name": name, "arguments": "" });
                    json!({ "tool_calls": [{ "index": index, "id": id, "type": "function", "function": function }] })
                }
                Part::Arguments { index, text } => {
                    json!({ "tool_calls": [{ "index": index, "function": { "arguments": text } }] })
                }
                Part::Finished(reason) => {
                    finish = Some(reason);
                    json!({})
                }
            };
            let likely = std::mem::take(&mut logprobs[n]);
            let likely = (!likely.is_empty()).then(|| json!({ "content": likely, "refusal": null }));
            self.chunk(n, delta, finish, likely, events).await;
        }
        if include_usage {
            let mut chunk = self.body("chat.completion.chunk", json!([]));
            chunk["usage"] = usage(&generation.usage);
            events.send(&chunk).await;
        }
        events.done().await;
        Ok(())
    }

    async fn chunk(
        &self,
        n: usize,
        delta: Value,
        finish: Option<Reason>,
        logprobs: Option<Value>,
        events: &sse::Events,
    ) {
        let mut choice = json!({ "index": n, "delta": delta, "finish_reason": finish.map(Reason::name) });
        if let Some(logprobs) = logprobs {
            choice["logprobs"] = logprobs;
        }
        events.send(&self.body("chat.completion.chunk", json!([choice]))).await;
    }

    fn body(&self, object: &str, choices: Value) -> Value {
        json!({
            "id": self.id, "object": object, "created": self.created, "model": self.model,
            "system_fingerprint": super::FINGERPRINT, "choices": choices,
        })
    }
}

/// What OpenAI tells of a token.
pub fn token(served: &Served, logprob: &TokenLogprob) -> Value {
    // JSON has no infinity.
    let one = |id: u32, logprob: f32| {
        let (text, bytes) = served.token_text(id);
        json!({ "id": id, "token": text, "bytes": bytes, "logprob": logprob.max(-9999.0) })
    };
    let mut token = one(logprob.id, logprob.logprob);
    token["top_logprobs"] = logprob.top.iter().map(|&(id, logprob)| one(id, logprob)).collect();
    token
}

/// What was used, in OpenAI's words.
pub fn usage(usage: &Usage) -> Value {
    json!({
        "prompt_tokens": usage.prompt, "completion_tokens": usage.completion,
        "total_tokens": usage.prompt + usage.completion,
        "prompt_tokens_details": { "cached_tokens": usage.cached },
        "completion_tokens_details": { "reasoning_tokens": usage.reasoning },
    })
}

impl App {
    /// Renders and encodes a conversation, away from the thread that answers.
    pub async fn prompt(
        self: &Arc<App>,
        served: Arc<Served>,
        asked: conversation::Asked,
        entry: &Arc<super::log::Entry>,
    ) -> Result<Prompt, Failure> {
        let (prompt, text) = self
            .compute(move || {
                let rendered = asked.render(&served)?;
                let tokens = rendered.encode(&served.tokenizer)?;
                let text = rendered.text();
                let constraint = asked.structure.constraint(&served, Some(&text))?;
                Ok((Prompt { tokens, rendered: Some(rendered), constraint }, text))
            })
            .await?;
        if self.settings.log_prompts {
            entry.prompt(text);
        }
        Ok(prompt)
    }
}
