//! `POST /v1/responses`: OpenAI's later form, without what a server would have to remember.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode};
use serde_json::{Map, Value, json};

use super::blocks::{Block, Blocks, Change};
use super::constrained::flat_format;
use super::failure::{Failure, json_response};
use super::fields::{Fields, wrong};
use super::generation::{Generation, Reason, Started, Usage, Wanted};
use super::params::{Params, fresh_id};
use super::served::Served;
use super::{App, conversation, sse};
use crate::chat::{Content, Conversation, Function, Message, ToolCall};

/// What asks for something that is not there.
const UNSUPPORTED: &[&str] =
    &["previous_response_id", "conversation", "background", "prompt", "top_logprobs"];

/// Answers.
pub async fn responses(State(app): State<Arc<App>>, request: Request) -> Result<Response<Body>, Failure> {
    let served = app.served()?;
    let (entry, mut fields) = app.fields(request).await?;
    let params = Params::read(&mut fields, &app.settings.sampling, &["max_output_tokens"])?;
    if params.choices > 1 {
        return Err(Failure::unsupported("n", "is not supported here"));
    }
    for name in UNSUPPORTED {
        fields.refuse(name, "is not supported: give the whole conversation in 'input'")?;
    }
    if fields.text("truncation")?.is_some_and(|kind| kind != "disabled") {
        return Err(Failure::unsupported("truncation", "is not supported: nothing is left out"));
    }
    let format = fields.object("text")?.and_then(|mut text| text.shift_remove("format"));
    let format = format.map_or(Ok(None), |format| flat_format("text.format", format))?;
    let echo = Echo {
        instructions: fields.text("instructions")?,
        tools: fields.list("tools")?.unwrap_or_default(),
        choice: fields.any("tool_choice"),
        parallel: fields.flag("parallel_tool_calls")?.unwrap_or(true),
        metadata: fields.object("metadata")?.unwrap_or_default(),
        limit: params.limit,
        temperature: params.sampling.temperature,
        top_p: params.sampling.top_p,
        effort: match fields.any("reasoning") {
            Some(reasoning) => Fields::of("reasoning", reasoning)?.text("effort")?,
            None => None,
        },
    };
    let mut asked = read(&mut fields, &echo, &served)?;
    asked.structure.format = format;
    let (calls, one_call) = (asked.calls, asked.structure.one_call);
    let prompt = app.prompt(served.clone(), asked, &entry).await?;
    let stream = params.stream;
    let shape = Shape { id: fresh_id("resp_", 24), created: app.now(), model: served.name.clone(), echo };
    let wanted = Wanted { prompts: vec![prompt], params, calls, one_call };
    let mut started = Started::new(&app, &served, wanted, &entry)?;
    started.begun().await?;
    if !stream {
        let mut generation = Generation::new(&served, started);
        let blocks = Blocks::whole(&mut generation).await?;
        let ids = blocks.all.iter().map(item_id).collect::<Vec<_>>();
        return Ok(json_response(StatusCode::OK, &shape.response(&blocks, &ids, Some(&generation.usage))));
    }
    let run =
        async move |events: sse::Events| shape.streamed(Generation::new(&served, started), &events).await;
    let on_error = |failure: &Failure| {
        let mut event = failure.json()["error"].take();
        event["type"] = "error".into();
        format!("event: error\ndata: {event}\n\n")
    };
    Ok(sse::respond(entry, run, on_error))
}

/// What a response repeats of its request.
struct Echo {
    instructions: Option<String>,
    tools: Vec<Value>,
    choice: Option<Value>,
    parallel: bool,
    metadata: Map<String, Value>,
    limit: Option<usize>,
    temperature: f32,
    top_p: f32,
    effort: Option<String>,
}

/// The conversation, in the form that templates know.
fn read(fields: &mut Fields, echo: &Echo, served: &Served) -> Result<conversation::Asked, Failure> {
    let mut messages: Vec<Message> = echo.instructions.iter().map(Message::system).collect();
    match fields.any("input") {
        Some(Value::String(text)) => messages.push(Message::user(text)),
        Some(Value::Array(items)) if !items.is_empty() => {
            for (i, item) in items.into_iter().enumerate() {
                input(&format!("input[{i}]"), item, &mut messages)?;
            }
        }
        Some(Value::Array(_)) => return Err(Failure::field("input", "is empty, expected one item at least")),
        Some(other) => return Err(wrong("input", "a string or a list of items", &other)),
        None => return Err(Failure::field("input", "is required: a string or a list of items")),
    }
    let tool = |(i, tool): (usize, &Value)| -> Result<Value, Failure> {
        let Value::Object(mut function) = tool.clone() else {
            return Err(wrong(&format!("tools[{i}]"), "an object", tool));
        };
        let kind = function.shift_remove("type").unwrap_or_default();
        Ok(json!({ "type": kind, "function": function }))
    };
    let tools = echo.tools.iter().enumerate().map(tool).collect::<Result<_, _>>()?;
    let mut variables = fields.object("chat_template_kwargs")?.unwrap_or_default();
    if let Some(effort) = &echo.effort {
        conversation::reason(&mut variables, effort)?;
    }
    let conversation = Conversation { messages, tools, documents: Vec::new() };
    conversation::asked(conversation, echo.choice.clone(), echo.parallel, variables, served)
}

fn input(name: &str, item: Value, messages: &mut Vec<Message>) -> Result<(), Failure> {
    let mut item = Fields::of(name, item)?;
    let kind = item.text("type")?.unwrap_or_else(|| "message".into());
    let need = |value: Option<String>, what: &str| {
        value.ok_or_else(|| Failure::field(format!("{name}.{what}"), "is required: a string"))
    };
    match &*kind {
        "message" => {
            let role = need(item.text("role")?, "role")?;
            let role = match &*role {
                "user" | "assistant" | "system" => role,
                "developer" => "system".into(),
                _ => {
                    return Err(Failure::field(
                        format!("{name}.role"),
                        format!("is {role:?}, expected user, assistant, system or developer"),
                    ));
                }
            };
            messages.push(Message::text(role, texts(&format!("{name}.content"), item.any("content"))?));
        }
        "function_call" => {
            let call = ToolCall {
                id: Some(need(item.text("call_id")?, "call_id")?),
                kind: "function".into(),
                function: Function {
                    name: need(item.text("name")?, "name")?,
                    arguments: need(item.text("arguments")?, "arguments")?.into(),
                },
                other: Map::new(),
            };
            match messages.last_mut().filter(|last| last.role == "assistant") {
                Some(last) => last.tool_calls.push(call),
                None => messages.push(Message {
                    role: "assistant".into(),
                    content: Some(Content::Null),
                    tool_calls: vec![call],
                    ..Message::default()
                }),
            }
        }
        "function_call_output" => {
            let id = need(item.text("call_id")?, "call_id")?;
            let output = texts(&format!("{name}.output"), item.any("output"))?;
            messages.push(Message { tool_call_id: Some(id), ..Message::text("tool", output) });
        }
        // What was thought before is not needed any more.
        "reasoning" => {}
        _ => {
            return Err(Failure::unsupported(
                format!("{name}.type"),
                format!("is {kind:?}, which is not supported"),
            ));
        }
    }
    Ok(())
}

/// A text, or the texts of parts that are nothing else.
fn texts(name: &str, value: Option<Value>) -> Result<String, Failure> {
    let parts = match value {
        Some(Value::String(text)) => return Ok(text),
        Some(Value::Array(parts)) => parts,
        Some(other) => return Err(wrong(name, "a string or a list of parts", &other)),
        None => return Err(Failure::field(name, "is required: a string or a list of parts")),
    };
    let mut all = String::new();
    for (i, part) in parts.into_iter().enumerate() {
        let name = format!("{name}[{i}]");
        let mut part = Fields::of(&name, part)?;
        match (part.text("type")?.as_deref(), part.text("text")?) {
            (Some("input_text" | "output_text" | "text"), Some(text)) => all += &text,
            _ => {
                return Err(Failure::unsupported(
                    format!("{name}.type"),
                    "is no text, and nothing else is supported",
                ));
            }
        }
    }
    Ok(all)
}

struct Shape {
    id: String,
    created: u64,
    model: String,
    echo: Echo,
}

fn item_id(block: &Block) -> String {
    let prefix = match block {
        Block::Reasoning(_) => "rs_",
        Block::Text(_) => "msg_",
        Block::Call { .. } => "fc_",
    };
    fresh_id(prefix, 24)
}

/// A block as an item; without its content while it is `open`.
fn item(block: &Block, id: &str, open: bool) -> Value {
    let status = if open { "in_progress" } else { "completed" };
    match block {
        Block::Reasoning(text) => {
            let content = if open { json!([]) } else { json!([reasoning_part(text)]) };
            json!({ "type": "reasoning", "id": id, "summary": [], "content": content, "status": status })
        }
        Block::Text(text) => {
            let content = if open { json!([]) } else { json!([text_part(text)]) };
            json!({ "type": "message", "id": id, "role": "assistant", "content": content, "status": status })
        }
        Block::Call { id: call, name, arguments } => {
            let arguments = if open { "" } else { arguments.as_str() };
            json!({
                "type": "function_call", "id": id, "call_id": call, "name": name, "arguments": arguments, "status": status,
            })
        }
    }
}

fn text_part(text: &str) -> Value {
    json!({ "type": "output_text", "text": text, "annotations": [], "logprobs": [] })
}

fn reasoning_part(text: &str) -> Value {
    json!({ "type": "reasoning_text", "text": text })
}

impl Shape {
    /// The response; under way where nothing was used yet.
    fn response(&self, blocks: &Blocks, ids: &[String], used: Option<&Usage>) -> Value {
        let cut = blocks.reason == Some(Reason::Length);
        let status = match used {
            None => "in_progress",
            Some(_) if cut => "incomplete",
            Some(_) => "completed",
        };
        let usage = used.map(|used| {
            json!({
                "input_tokens": used.prompt, "input_tokens_details": { "cached_tokens": used.cached },
                "output_tokens": used.completion, "output_tokens_details": { "reasoning_tokens": used.reasoning },
                "total_tokens": used.prompt + used.completion,
            })
        });
        let echo = &self.echo;
        let output: Vec<Value> =
            blocks.all.iter().zip(ids).map(|(block, id)| item(block, id, false)).collect();
        json!({
            "id": self.id, "object": "response", "created_at": self.created, "status": status, "error": null,
            "incomplete_details": (used.is_some() && cut).then(|| json!({ "reason": "max_output_tokens" })),
            "instructions": echo.instructions, "max_output_tokens": echo.limit, "model": self.model, "output": output,
            "parallel_tool_calls": echo.parallel, "previous_response_id": null,
            "reasoning": { "effort": echo.effort, "summary": null }, "store": false,
            "temperature": echo.temperature, "text": { "format": { "type": "text" } },
            "tool_choice": echo.choice.clone().unwrap_or_else(|| json!("auto")), "tools": echo.tools,
            "top_p": echo.top_p, "truncation": "disabled", "usage": usage, "metadata": echo.metadata,
        })
    }

    async fn streamed(&self, mut generation: Generation<'_>, events: &sse::Events) -> Result<(), Failure> {
        let (mut blocks, mut ids, mut number) = (Blocks::default(), Vec::<String>::new(), 0);
        let mut send = async |name: &str, mut event: Value| {
            event["type"] = name.into();
            event["sequence_number"] = number.into();
            number += 1;
            events.send_named(name, &event).await;
        };
        let response = self.response(&blocks, &ids, None);
        send("response.created", json!({ "response": response })).await;
        send("response.in_progress", json!({ "response": response })).await;
        while let Some((_, part)) = generation.next().await? {
            for change in blocks.push(part) {
                let (Change::Begin(n) | Change::More(n, _) | Change::End(n)) = change;
                if ids.len() <= n {
                    ids.push(item_id(&blocks.all[n]));
                }
                let at = |mut event: Value| {
                    event["item_id"] = ids[n].as_str().into();
                    event["output_index"] = n.into();
                    event
                };
                let part_at = |mut event: Value| {
                    event["content_index"] = 0.into();
                    at(event)
                };
                match (change, &blocks.all[n]) {
                    (Change::Begin(_), block) => {
                        let item = item(block, &ids[n], true);
                        send("response.output_item.added", json!({ "output_index": n, "item": item })).await;
                        if let Block::Text(_) = block {
                            send("response.content_part.added", part_at(json!({ "part": text_part("") })))
                                .await;
                        }
                    }
                    (Change::More(_, more), Block::Text(_)) => {
                        send("response.output_text.delta", part_at(json!({ "delta": more, "logprobs": [] })))
                            .await;
                    }
                    (Change::More(_, more), Block::Reasoning(_)) => {
                        send("response.reasoning_text.delta", part_at(json!({ "delta": more }))).await;
                    }
                    (Change::More(_, more), Block::Call { .. }) => {
                        send("response.function_call_arguments.delta", at(json!({ "delta": more }))).await;
                    }
                    (Change::End(_), block) => {
                        match block {
                            Block::Text(text) => {
                                send(
                                    "response.output_text.done",
                                    part_at(json!({ "text": text, "logprobs": [] })),
                                )
                                .await;
                                send(
                                    "response.content_part.done",
                                    part_at(json!({ "part": text_part(text) })),
                                )
                                .await;
                            }
                            Block::Reasoning(text) => {
                                send("response.reasoning_text.done", part_at(json!({ "text": text }))).await;
                            }
                            Block::Call { arguments, name, .. } => {
                                let event = json!({ "arguments": arguments, "name": name });
                                send("response.function_call_arguments.done", at(event)).await;
                            }
                        }
                        let item = item(block, &ids[n], false);
                        send("response.output_item.done", json!({ "output_index": n, "item": item })).await;
                    }
                }
            }
        }
        let name = match blocks.reason {
            Some(Reason::Length) => "response.incomplete",
            _ => "response.completed",
        };
        let response = self.response(&blocks, &ids, Some(&generation.usage));
        send(name, json!({ "response": response })).await;
        Ok(())
    }
}
