//! `POST /v1/completions`: the continuation of texts or of tokens.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode};
use serde_json::{Value, json};

use super::chat::usage;
use super::constrained::{Structure, output_format};
use super::failure::{Failure, json_response};
use super::fields::wrong;
use super::generation::{Generation, Part, Prompt, Reason, Started, TokenLogprob, Wanted};
use super::params::{Params, fresh_id};
use super::served::Served;
use super::text::token_ids;
use super::{App, sse};
use crate::tokenizer::Encode;

/// Prompts of a request at most.
const MOST_PROMPTS: usize = 128;

/// Continues prompts.
pub async fn completions(State(app): State<Arc<App>>, request: Request) -> Result<Response<Body>, Failure> {
    let served = app.served()?;
    let (entry, mut fields) = app.fields(request).await?;
    let mut params = Params::read(&mut fields, &app.settings.sampling, &["max_tokens", "n_predict"])?;
    if let Some(top) = fields.whole("logprobs", 0..=i64::MAX)? {
        params.set_logprobs("logprobs", top)?;
    }
    let structure = Structure { format: output_format(&mut fields)?, ..Structure::default() };
    fields.refuse("suffix", "is not supported")?;
    if fields.whole("best_of", 1..=i64::MAX)?.is_some_and(|best| best != params.choices as i64) {
        return Err(Failure::unsupported("best_of", "is not supported, unless it is as many as 'n'"));
    }
    let echo = fields.flag("echo")?.unwrap_or(false);
    if echo && params.sampling.logprobs.is_some() {
        return Err(Failure::unsupported("echo", "together with 'logprobs' is not supported"));
    }
    let Some(prompt) = fields.any("prompt") else {
        return Err(Failure::field("prompt", "is required: a string, a list of strings, or token ids"));
    };
    let sources = sources(prompt, served.tokenizer.vocab_size())?;
    let of = served.clone();
    let (prompts, texts) = app
        .compute(move || {
            let constraint = structure.constraint(&of, None)?;
            let mut prompts = Vec::new();
            let mut texts = Vec::new();
            for source in sources {
                let (tokens, text) = match source {
                    Source::Tokens(tokens) => {
                        let text = of.tokenizer.decode(&tokens);
                        (tokens, text)
                    }
                    Source::Text(text) => {
                        (of.tokenizer.encode(&text, Encode { special: false, bos: true })?, text)
                    }
                };
                if tokens.is_empty() {
                    return Err(Failure::field("prompt", "is empty: there is nothing to continue"));
                }
                prompts.push(Prompt { tokens, rendered: None, constraint: constraint.clone() });
                texts.push(text);
            }
            Ok((prompts, texts))
        })
        .await?;
    if app.settings.log_prompts {
        entry.prompt(texts.join("\n"));
    }
    let (stream, include_usage, each) = (params.stream, params.include_usage, params.choices);
    let echo = |n: usize| if echo { texts[n / each].clone() } else { String::new() };
    let echoes: Vec<String> = (0..prompts.len() * each).map(echo).collect();
    let shape = Shape { id: fresh_id("cmpl-", 24), created: app.now(), model: served.name.clone(), echoes };
    let wanted = Wanted { prompts, params, calls: None, one_call: false };
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

/// A prompt as it came.
enum Source {
    Text(String),
    Tokens(Vec<u32>),
}

fn sources(prompt: Value, vocab: usize) -> Result<Vec<Source>, Failure> {
    let items = match prompt {
        Value::String(text) => return Ok(vec![Source::Text(text)]),
        Value::Array(items) => items,
        other => return Err(wrong("prompt", "a string, a list of strings, or token ids", &other)),
    };
    if items.first().is_some_and(Value::is_number) {
        return Ok(vec![Source::Tokens(token_ids("prompt", items, vocab)?)]);
    }
    if items.is_empty() || items.len() > MOST_PROMPTS {
        let what = format!("has {} prompts, expected 1 to {MOST_PROMPTS}", items.len());
        return Err(Failure::field("prompt", what));
    }
    let source = |(i, item)| match item {
        Value::String(text) => Ok(Source::Text(text)),
        Value::Array(ids) => Ok(Source::Tokens(token_ids(&format!("prompt[{i}]"), ids, vocab)?)),
        other => Err(wrong(&format!("prompt[{i}]"), "a string or a list of token ids", &other)),
    };
    items.into_iter().enumerate().map(source).collect()
}

struct Shape {
    id: String,
    created: u64,
    model: String,
    /// What each choice begins with.
    echoes: Vec<String>,
}

/// The form of log probabilities that completions have.
#[derive(Default)]
struct Logprobs {
    tokens: Vec<String>,
    logprobs: Vec<f32>,
    top: Vec<Value>,
    offsets: Vec<usize>,
    /// Characters so far.
    length: usize,
}

impl Logprobs {
    fn push(&mut self, served: &Served, logprob: &TokenLogprob) {
        let (text, _) = served.token_text(logprob.id);
        self.offsets.push(self.length);
        self.length += text.chars().count();
        self.tokens.push(text);
        self.logprobs.push(logprob.logprob.max(-9999.0));
        let top = logprob.top.iter().map(|&(id, l)| (served.token_text(id).0, json!(l.max(-9999.0))));
        self.top.push(Value::Object(top.collect()));
    }

    /// What came since it was taken last; none where nothing did.
    fn take(&mut self) -> Value {
        let length = self.length;
        let Logprobs { tokens, logprobs, top, offsets, .. } =
            std::mem::replace(self, Logprobs { length, ..Logprobs::default() });
        match tokens.is_empty() {
            true => Value::Null,
            false => {
                json!({ "tokens": tokens, "token_logprobs": logprobs, "top_logprobs": top, "text_offset": offsets })
            }
        }
    }
}

impl Shape {
    async fn whole(&self, mut generation: Generation<'_>) -> Result<Value, Failure> {
        let mut texts = self.echoes.clone();
        let mut finish = vec![""; texts.len()];
        let mut logprobs: Vec<Logprobs> = texts.iter().map(|_| Logprobs::default()).collect();
        while let Some((n, part)) = generation.next().await? {
            match part {
                Part::Text(text) | Part::Reasoning(text) => texts[n] += &text,
                Part::Logprob(logprob) => logprobs[n].push(generation.served(), &logprob),
                Part::Finished(reason) => finish[n] = reason.name(),
                Part::Call { .. } | Part::Arguments { .. } => {}
            }
        }
        let mut choices = Vec::new();
        for (index, text) in texts.into_iter().enumerate() {
            let logprobs = logprobs[index].take();
            choices.push(
                json!({ "index": index, "text": text, "logprobs": logprobs, "finish_reason": finish[index] }),
            );
        }
        let mut body = self.body(json!(choices));
        body["usage"] = usage(&generation.usage);
        Ok(body)
    }

    async fn streamed(
        &self,
        mut generation: Generation<'_>,
        include_usage: bool,
        events: &sse::Events,
    ) -> Result<(), Failure> {
        for (n, echo) in self.echoes.iter().enumerate().filter(|(_, echo)| !echo.is_empty()) {
            self.chunk(n, echo, None, Value::Null, events).await;
        }
        let mut logprobs: Vec<Logprobs> = self.echoes.iter().map(|_| Logprobs::default()).collect();
        while let Some((n, part)) = generation.next().await? {
            match part {
                Part::Text(text) | Part::Reasoning(text) => {
                    let likely = logprobs[n].take();
                    self.chunk(n, &text, None, likely, events).await;
                }
                Part::Logprob(logprob) => logprobs[n].push(generation.served(), &logprob),
                Part::Finished(reason) => {
                    let likely = logprobs[n].take();
                    self.chunk(n, "", Some(reason), likely, events).await;
                }
                Part::Call { .. } | Part::Arguments { .. } => {}
            }
        }
        if include_usage {
            let mut chunk = self.body(json!([]));
            chunk["usage"] = usage(&generation.usage);
            events.send(&chunk).await;
        }
        events.done().await;
        Ok(())
    }

    async fn chunk(
        &self,
        n: usize,
        text: &str,
        finish: Option<Reason>,
        logprobs: Value,
        events: &sse::Events,
    ) {
        let finish = finish.map(Reason::name);
        let choice = json!({ "index": n, "text": text, "logprobs": logprobs, "finish_reason": finish });
        events.send(&self.body(json!([choice]))).await;
    }

    fn body(&self, choices: Value) -> Value {
        json!({
            "id": self.id, "object": "text_completion", "created": self.created, "model": self.model,
            "system_fingerprint": super::FINGERPRINT, "choices": choices,
        })
    }
}
