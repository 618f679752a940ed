//! `POST /v1/messages` and `/v1/messages/count_tokens`: the form of Anthropic's clients.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode};
use serde_json::{Map, Value, json};

use super::blocks::{Block, Blocks, Change};
use super::constrained::{OutputFormat, flat_format};
use super::failure::{Failure, json_response};
use super::fields::{Fields, wrong};
use super::generation::{Generation, Reason, Started, Usage, Wanted};
use super::params::{Params, fresh_id};
use super::served::Served;
use super::{App, conversation, sse};
use crate::chat::{Content, Conversation, Function, Message, ToolCall};

/// Answers a conversation.
pub async fn messages(State(app): State<Arc<App>>, request: Request) -> Response<Body> {
    answer(app, request).await.unwrap_or_else(|failure| failure.response(&failure.anthropic()))
}

/// Counts the tokens of a conversation.
pub async fn count_tokens(State(app): State<Arc<App>>, request: Request) -> Response<Body> {
    count(app, request).await.unwrap_or_else(|failure| failure.response(&failure.anthropic()))
}

async fn count(app: Arc<App>, request: Request) -> Result<Response<Body>, Failure> {
    let served = app.served()?;
    let (entry, mut fields) = app.fields(request).await?;
    let asked = read(&mut fields, &served)?;
    let prompt = app.prompt(served, asked, &entry).await?;
    Ok(json_response(StatusCode::OK, &json!({ "input_tokens": prompt.tokens.len() })))
}

async fn answer(app: Arc<App>, request: Request) -> Result<Response<Body>, Failure> {
    let served = app.served()?;
    let (entry, mut fields) = app.fields(request).await?;
    let mut params = Params::read(&mut fields, &app.settings.sampling, &["max_tokens"])?;
    if params.limit.is_none() {
        return Err(Failure::field("max_tokens", "is required: a number of tokens"));
    }
    if params.choices > 1 {
        return Err(Failure::unsupported("n", "is not supported here"));
    }
    params.stops.extend(fields.texts("stop_sequences", 16)?);
    for name in ["container", "mcp_servers"] {
        fields.refuse(name, "is not supported")?;
    }
    let format = output_config(&mut fields)?;
    let mut asked = read(&mut fields, &served)?;
    asked.structure.format = format;
    let (calls, one_call) = (asked.calls, asked.structure.one_call);
    let prompt = app.prompt(served.clone(), asked, &entry).await?;
    let stream = params.stream;
    let shape = Shape { id: fresh_id("msg_", 24), model: served.name.clone(), stops: params.stops.clone() };
    let wanted = Wanted { prompts: vec![prompt], params, calls, one_call };
    let mut started = Started::new(&app, &served, wanted, &entry)?;
    started.begun().await?;
    if !stream {
        let mut generation = Generation::new(&served, started);
        let blocks = Blocks::whole(&mut generation).await?;
        return Ok(json_response(StatusCode::OK, &shape.message(&blocks, &generation.usage)));
    }
    let run =
        async move |events: sse::Events| shape.streamed(Generation::new(&served, started), &events).await;
    let on_error = |failure: &Failure| format!("event: error\ndata: {}\n\n", failure.anthropic());
    Ok(sse::respond(entry, run, on_error))
}

/// `output_config.format`, which was `output_format` before.
fn output_config(fields: &mut Fields) -> Result<Option<OutputFormat>, Failure> {
    let mut format = fields.any("output_format").map(|format| ("output_format", format));
    if let Some(config) = fields.any("output_config") {
        let inner = Fields::of("output_config", config)?.any("format");
        format = inner.map(|inner| ("output_config.format", inner)).or(format);
    }
    format.map_or(Ok(None), |(name, format)| flat_format(name, format))
}

/// The conversation, in the form that templates know.
fn read(fields: &mut Fields, served: &Served) -> Result<conversation::Asked, Failure> {
    let mut messages = Vec::new();
    if let Some(system) = fields.any("system") {
        messages.push(Message::system(texts("system", system)?));
    }
    let Some(items) = fields.list("messages")? else {
        return Err(Failure::field("messages", "is required: a list of messages"));
    };
    if items.is_empty() {
        return Err(Failure::field("messages", "is empty, expected one message at least"));
    }
    for (i, item) in items.into_iter().enumerate() {
        message(&format!("messages[{i}]"), item, &mut messages)?;
    }
    let mut tools = Vec::new();
    for (i, tool) in fields.list("tools")?.unwrap_or_default().into_iter().enumerate() {
        let name = format!("tools[{i}]");
        let mut tool = Fields::of(&name, tool)?;
        if let Some(kind) = tool.text("type")?.filter(|kind| kind != "custom") {
            return Err(Failure::unsupported(
                format!("{name}.type"),
                format!("is {kind:?}, and only 'custom' is supported"),
            ));
        }
        let function = json!({
            "name": tool.text("name")?, "description": tool.text("description")?,
            "parameters": tool.object("input_schema")?,
        });
        tools.push(json!({ "type": "function", "function": function }));
    }
    let (mut choice, mut parallel) = (None, true);
    if let Some(given) = fields.any("tool_choice") {
        let mut given = Fields::of("tool_choice", given)?;
        parallel = !given.flag("disable_parallel_tool_use")?.unwrap_or(false);
        choice = match given.text("type")?.as_deref() {
            Some("any") => Some(json!("required")),
            Some("tool") => match given.text("name")? {
                Some(name) => Some(json!({ "type": "function", "name": name })),
                None => return Err(Failure::field("tool_choice.name", "is required: the tool's name")),
            },
            Some(kind @ ("auto" | "none")) => Some(kind.into()),
            _ => return Err(Failure::field("tool_choice.type", "is required: auto, none, any or tool")),
        };
    }
    let mut variables = fields.object("chat_template_kwargs")?.unwrap_or_default();
    if let Some(thinking) = fields.any("thinking") {
        let kind = Fields::of("thinking", thinking)?.text("type")?.unwrap_or_default();
        if !["enabled", "disabled", "adaptive"].contains(&&*kind) {
            return Err(Failure::field("thinking.type", "is required: enabled, disabled or adaptive"));
        }
        variables.entry("enable_thinking").or_insert((kind != "disabled").into());
    }
    conversation::asked(
        Conversation { messages, tools, documents: Vec::new() },
        choice,
        parallel,
        variables,
        served,
    )
}

/// One message of theirs may be several of ours: what tools answered stands by itself.
fn message(name: &str, item: Value, messages: &mut Vec<Message>) -> Result<(), Failure> {
    let mut item = Fields::of(name, item)?;
    let role = item.text("role")?.unwrap_or_default();
    if !["user", "assistant"].contains(&&*role) {
        return Err(Failure::field(format!("{name}.role"), "is required: user or assistant"));
    }
    let blocks = match item.any("content") {
        Some(Value::String(text)) => {
            messages.push(Message::text(role, text));
            return Ok(());
        }
        Some(Value::Array(blocks)) => blocks,
        Some(other) => return Err(wrong(&format!("{name}.content"), "a string or a list of blocks", &other)),
        None => {
            return Err(Failure::field(
                format!("{name}.content"),
                "is required: a string or a list of blocks",
            ));
        }
    };
    let (mut text, mut thought, mut calls) = (String::new(), String::new(), Vec::new());
    for (i, block) in blocks.into_iter().enumerate() {
        let name = format!("{name}.content[{i}]");
        let mut block = Fields::of(&name, block)?;
        let need = |value: Option<String>, what: &str| {
            value.ok_or_else(|| Failure::field(format!("{name}.{what}"), "is required: a string"))
        };
        match (block.text("type")?.as_deref(), &*role) {
            (Some("text"), _) => text += &need(block.text("text")?, "text")?,
            (Some("thinking"), "assistant") => thought += &need(block.text("thinking")?, "thinking")?,
            (Some("redacted_thinking"), "assistant") => {}
            (Some("tool_use"), "assistant") => {
                let arguments = block.object("input")?.unwrap_or_default();
                calls.push(ToolCall {
                    id: Some(need(block.text("id")?, "id")?),
                    kind: "function".into(),
                    function: Function {
                        name: need(block.text("name")?, "name")?,
                        arguments: Value::Object(arguments),
                    },
                    other: Map::new(),
                });
            }
            (Some("tool_result"), "user") => {
                let id = need(block.text("tool_use_id")?, "tool_use_id")?;
                let content = match block.any("content") {
                    Some(content) => texts(&format!("{name}.content"), content)?,
                    None => String::new(),
                };
                messages.push(Message { tool_call_id: Some(id), ..Message::text("tool", content) });
            }
            (Some(kind), _) => {
                return Err(Failure::unsupported(
                    format!("{name}.type"),
                    format!("is {kind:?}, which is not supported here"),
                ));
            }
            (None, _) => {
                return Err(Failure::field(format!("{name}.type"), "is required: the kind of block"));
            }
        }
    }
    if !text.is_empty() || !calls.is_empty() || !thought.is_empty() {
        let reasoning_content = (!thought.is_empty()).then_some(thought);
        let content = match text.is_empty() && !calls.is_empty() {
            true => Content::Null,
            false => Content::Text(text),
        };
        messages.push(Message {
            role,
            content: Some(content),
            reasoning_content,
            tool_calls: calls,
            ..Message::default()
        });
    }
    Ok(())
}

/// A text, or the texts of blocks that are nothing else.
fn texts(name: &str, value: Value) -> Result<String, Failure> {
    let blocks = match value {
        Value::String(text) => return Ok(text),
        Value::Array(blocks) => blocks,
        other => return Err(wrong(name, "a string or a list of blocks", &other)),
    };
    let mut all = String::new();
    for (i, block) in blocks.into_iter().enumerate() {
        let name = format!("{name}[{i}]");
        let mut block = Fields::of(&name, block)?;
        match (block.text("type")?.as_deref(), block.text("text")?) {
            (Some("text"), Some(text)) => all += &text,
            _ => {
                return Err(Failure::unsupported(
                    format!("{name}.type"),
                    "is no 'text' with a text, and nothing else is supported",
                ));
            }
        }
    }
    Ok(all)
}

struct Shape {
    id: String,
    model: String,
    stops: Vec<String>,
}

impl Shape {
    fn message(&self, blocks: &Blocks, used: &Usage) -> Value {
        let (reason, stop) = self.reason(blocks);
        json!({
            "id": self.id, "type": "message", "role": "assistant", "model": self.model,
            "content": blocks.all.iter().map(block).collect::<Vec<_>>(),
            "stop_reason": reason, "stop_sequence": stop, "usage": usage(used),
        })
    }

    fn reason(&self, blocks: &Blocks) -> (Option<&'static str>, Option<&str>) {
        match blocks.reason {
            None => (None, None),
            Some(Reason::Stop) => (Some("end_turn"), None),
            Some(Reason::StopString(n)) => (Some("stop_sequence"), self.stops.get(n).map(String::as_str)),
            Some(Reason::Length) => (Some("max_tokens"), None),
            Some(Reason::Calls) => (Some("tool_use"), None),
        }
    }

    async fn streamed(&self, mut generation: Generation<'_>, events: &sse::Events) -> Result<(), Failure> {
        let mut blocks = Blocks::default();
        let mut begun = false;
        while let Some((_, part)) = generation.next().await? {
            if !std::mem::replace(&mut begun, true) {
                let used = Usage { completion: 0, ..generation.usage };
                let message = self.message(&Blocks::default(), &used);
                events
                    .send_named("message_start", &json!({ "type": "message_start", "message": message }))
                    .await;
            }
            for change in blocks.push(part) {
                let (name, event) = match change {
                    Change::Begin(n) => {
                        let empty = match &blocks.all[n] {
                            Block::Reasoning(_) => Block::Reasoning(String::new()),
                            Block::Text(_) => Block::Text(String::new()),
                            Block::Call { id, name, .. } => {
                                Block::Call { id: id.clone(), name: name.clone(), arguments: "{}".into() }
                            }
                        };
                        ("content_block_start", json!({ "index": n, "content_block": block(&empty) }))
                    }
                    Change::More(n, more) => {
                        let delta = match &blocks.all[n] {
                            Block::Reasoning(_) => json!({ "type": "thinking_delta", "thinking": more }),
                            Block::Text(_) => json!({ "type": "text_delta", "text": more }),
                            Block::Call { .. } => json!({ "type": "input_json_delta", "partial_json": more }),
                        };
                        ("content_block_delta", json!({ "index": n, "delta": delta }))
                    }
                    Change::End(n) => ("content_block_stop", json!({ "index": n })),
                };
                send(events, name, event).await;
            }
        }
        let (reason, stop) = self.reason(&blocks);
        let delta = json!({ "stop_reason": reason, "stop_sequence": stop });
        send(events, "message_delta", json!({ "delta": delta, "usage": usage(&generation.usage) })).await;
        send(events, "message_stop", json!({})).await;
        Ok(())
    }
}

async fn send(events: &sse::Events, name: &str, mut event: Value) {
    event["type"] = name.into();
    events.send_named(name, &event).await;
}

fn block(block: &Block) -> Value {
    match block {
        Block::Reasoning(text) => json!({ "type": "thinking", "thinking": text, "signature": "" }),
        Block::Text(text) => json!({ "type": "text", "text": text }),
        Block::Call { id, name, arguments } => {
            // What a model broke off is no JSON.
            let input = serde_json::from_str::<Value>(arguments).ok().filter(Value::is_object);
            json!({ "type": "tool_use", "id": id, "name": name, "input": input.unwrap_or_else(|| json!({})) })
        }
    }
}

fn usage(used: &Usage) -> Value {
    json!({
        "input_tokens": used.prompt - used.cached.min(used.prompt), "output_tokens": used.completion,
        "cache_read_input_tokens": used.cached, "cache_creation_input_tokens": 0,
    })
}
