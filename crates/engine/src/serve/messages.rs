//! `POST /v1/messages` and `/v1/messages/count_tokens`: the form of Anthropic's clients.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::answer::{Asking, Form};
use super::blocks::{Block, Blocks, Change};
use super::constrained::flat_format;
use super::failure::{Failure, json_response};
use super::fields::Fields;
use super::generation::{Generation, Reason, Usage, Wanted};
use super::params::{Limit, Params, fresh_id};
use super::schema::Never;
use super::served::Served;
use super::{App, conversation, sse};
use crate::chat::{Content, Conversation, Function, Message, ToolCall};

/// Counts the tokens of a conversation.
pub async fn count_tokens(State(app): State<Arc<App>>, request: Request) -> Response<Body> {
    count(app, request).await.unwrap_or_else(|failure| failure.response(&failure.anthropic()))
}

async fn count(app: Arc<App>, request: Request) -> Result<Response<Body>, Failure> {
    let served = app.served()?;
    let (entry, mut fields) = app.fields(request).await?;
    let asked = read(&mut fields, &served)?;
    let prompt = Asking { app, served, entry }.prompt(asked).await?;
    Ok(json_response(StatusCode::OK, &TokenCount { input_tokens: prompt.tokens.len() }))
}

/// The fields of a conversation.
#[derive(Deserialize, ToSchema)]
pub struct MessagesRequest {
    #[schema(min_items = 1)]
    messages: Vec<GivenMessage>,
    system: Option<Texts>,
    tools: Option<Vec<GivenTool>>,
    tool_choice: Option<Value>,
    thinking: Option<Thinking>,
    #[schema(value_type = Option<Object>)]
    chat_template_kwargs: Option<Map<String, Value>>,
}

/// The fields of an answer that other endpoints have not.
#[derive(Deserialize, ToSchema)]
pub struct MessagesAnswer {
    max_tokens: Limit,
    /// The answer ends in front of these.
    #[schema(max_items = 16)]
    stop_sequences: Option<Vec<String>>,
    output_config: Option<OutputConfig>,
    /// The same as `output_config.format`, which was here before.
    #[schema(value_type = Option<Object>)]
    output_format: Option<Value>,
}

#[derive(Deserialize, ToSchema)]
#[schema(as = AnthropicOutputConfig)]
struct OutputConfig {
    /// What form an answer must have: `type` is `text`, `json_object`, or `json_schema` with a `schema` beside it.
    #[schema(value_type = Option<Object>)]
    format: Option<Value>,
}

/// What one side said.
#[derive(Deserialize, ToSchema)]
#[schema(as = AnthropicMessageGiven)]
struct GivenMessage {
    role: GivenRole,
    content: GivenContent,
}

#[derive(Deserialize, PartialEq, ToSchema)]
#[schema(as = AnthropicRole)]
#[serde(rename_all = "lowercase")]
enum GivenRole {
    User,
    Assistant,
}

#[derive(Deserialize, ToSchema)]
#[schema(as = AnthropicContent)]
#[serde(untagged)]
enum GivenContent {
    Text(String),
    Blocks(Vec<GivenBlock>),
}

#[derive(Deserialize, ToSchema)]
#[schema(as = AnthropicBlockGiven)]
#[serde(tag = "type", rename_all = "snake_case")]
enum GivenBlock {
    Text {
        text: String,
    },
    /// Of the assistant.
    Thinking {
        thinking: String,
    },
    RedactedThinking,
    /// Of the assistant.
    ToolUse {
        id: String,
        name: String,
        #[schema(value_type = Option<Object>)]
        input: Option<Map<String, Value>>,
    },
    /// Of the user.
    ToolResult {
        tool_use_id: String,
        content: Option<Texts>,
    },
}

/// A text, or blocks of text.
#[derive(Deserialize, ToSchema)]
#[schema(as = AnthropicTexts)]
#[serde(untagged)]
enum Texts {
    Text(String),
    Blocks(Vec<TextBlock>),
}

#[derive(Deserialize, ToSchema)]
#[schema(as = AnthropicTextGiven)]
#[serde(tag = "type", rename_all = "snake_case")]
enum TextBlock {
    Text { text: String },
}

impl Texts {
    fn joined(self) -> String {
        match self {
            Texts::Text(text) => text,
            Texts::Blocks(blocks) => blocks.into_iter().map(|TextBlock::Text { text }| text).collect(),
        }
    }
}

/// A function that the model may call.
#[derive(Deserialize, ToSchema)]
#[schema(as = AnthropicTool)]
struct GivenTool {
    #[allow(dead_code)]
    r#type: Option<CustomTool>,
    name: String,
    description: Option<String>,
    /// A JSON schema.
    #[schema(value_type = Option<Object>)]
    input_schema: Option<Map<String, Value>>,
    /// Whether inputs are held to the schema where no call is forced, too.
    strict: Option<bool>,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum CustomTool {
    Custom,
}

#[derive(Deserialize, ToSchema)]
struct Thinking {
    r#type: ThinkingKind,
}

#[derive(Deserialize, PartialEq, ToSchema)]
#[serde(rename_all = "lowercase")]
enum ThinkingKind {
    Enabled,
    Disabled,
    Adaptive,
}

/// The conversation, in the form that templates know.
fn read(fields: &mut Fields, served: &Served) -> Result<conversation::Asked, Failure> {
    let given: MessagesRequest = fields.take()?;
    let mut messages: Vec<Message> =
        given.system.into_iter().map(|system| Message::system(system.joined())).collect();
    for (i, item) in given.messages.into_iter().enumerate() {
        message(&format!("messages[{i}]"), item, &mut messages)?;
    }
    let tool = |tool: GivenTool| {
        let GivenTool { name, description, input_schema, strict, .. } = tool;
        let mut function = json!({ "name": name, "description": description, "parameters": input_schema });
        if let Some(strict) = strict {
            function["strict"] = strict.into();
        }
        json!({ "type": "function", "function": function })
    };
    let tools = given.tools.unwrap_or_default().into_iter().map(tool).collect();
    let (mut choice, mut parallel) = (None, true);
    if let Some(given) = given.tool_choice {
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
    let mut variables = given.chat_template_kwargs.unwrap_or_default();
    if let Some(thinking) = given.thinking {
        let thinks = thinking.r#type != ThinkingKind::Disabled;
        variables.entry("enable_thinking").or_insert(thinks.into());
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
fn message(name: &str, item: GivenMessage, messages: &mut Vec<Message>) -> Result<(), Failure> {
    let of_user = item.role == GivenRole::User;
    let role = if of_user { "user" } else { "assistant" };
    let blocks = match item.content {
        GivenContent::Text(text) => {
            messages.push(Message::text(role, text));
            return Ok(());
        }
        GivenContent::Blocks(blocks) => blocks,
    };
    let (mut text, mut thought, mut calls) = (String::new(), String::new(), Vec::new());
    for (i, block) in blocks.into_iter().enumerate() {
        match block {
            GivenBlock::Text { text: more } => text += &more,
            GivenBlock::Thinking { thinking } if !of_user => thought += &thinking,
            GivenBlock::RedactedThinking if !of_user => {}
            GivenBlock::ToolUse { id, name, input } if !of_user => {
                let arguments = Value::Object(input.unwrap_or_default());
                calls.push(ToolCall {
                    id: Some(id),
                    kind: "function".into(),
                    function: Function { name, arguments },
                    other: Map::new(),
                });
            }
            GivenBlock::ToolResult { tool_use_id, content } if of_user => {
                let content = content.map(Texts::joined).unwrap_or_default();
                messages.push(Message { tool_call_id: Some(tool_use_id), ..Message::text("tool", content) });
            }
            _ => {
                let what = format!("is no block of a message whose role is '{role}'");
                return Err(Failure::unsupported(format!("{name}.content[{i}].type"), what));
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
            role: role.into(),
            content: Some(content),
            reasoning_content,
            tool_calls: calls,
            ..Message::default()
        });
    }
    Ok(())
}

/// A whole answer.
#[derive(Serialize, ToSchema)]
#[schema(as = AnthropicMessage)]
pub struct MessageTold {
    id: String,
    /// `message`.
    r#type: &'static str,
    /// `assistant`.
    role: &'static str,
    model: String,
    content: Vec<BlockTold>,
    /// `end_turn`, `max_tokens`, `stop_sequence` or `tool_use`; null while it goes on.
    stop_reason: Option<&'static str>,
    /// The stop string at which it ended.
    stop_sequence: Option<String>,
    stop_details: Never,
    container: Never,
    usage: MessageUsage,
}

#[derive(Serialize, ToSchema)]
#[schema(as = AnthropicBlock)]
#[serde(tag = "type", rename_all = "snake_case")]
enum BlockTold {
    Thinking {
        thinking: String,
        /// Empty: thoughts are taken back without one.
        signature: String,
    },
    Text {
        text: String,
        citations: Never,
    },
    ToolUse {
        id: String,
        name: String,
        #[schema(value_type = Object)]
        input: Map<String, Value>,
        caller: Caller,
    },
}

/// Who calls a tool: the model.
#[derive(Serialize, ToSchema)]
#[schema(as = AnthropicCaller)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Caller {
    Direct,
}

/// Tokens that were used.
#[derive(Serialize, ToSchema)]
#[schema(as = AnthropicUsage)]
struct MessageUsage {
    /// Those of the prompt that were computed.
    input_tokens: usize,
    output_tokens: usize,
    /// Those that were computed before.
    cache_read_input_tokens: usize,
    cache_creation_input_tokens: usize,
    output_tokens_details: ThinkingUsage,
    /// `standard`.
    service_tier: &'static str,
    cache_creation: Never,
    inference_geo: Never,
    server_tool_use: Never,
}

#[derive(Serialize, ToSchema)]
#[schema(as = AnthropicThinkingUsage)]
struct ThinkingUsage {
    thinking_tokens: usize,
}

#[derive(Serialize, ToSchema)]
pub struct TokenCount {
    input_tokens: usize,
}

/// What is the same in all of an answer.
pub struct Answer {
    id: String,
    model: String,
    stops: Vec<String>,
}

impl Form for Answer {
    async fn read(asking: &Asking, mut fields: Fields) -> Result<(Answer, Wanted), Failure> {
        let mut params = Params::read(&mut fields, &asking.app.settings)?;
        let own: MessagesAnswer = fields.take()?;
        params.set_limit([("max_tokens", Some(own.max_tokens))])?;
        if params.choices > 1 {
            return Err(Failure::unsupported("n", "is not supported here"));
        }
        params.stops.extend(own.stop_sequences.unwrap_or_default());
        for name in ["container", "mcp_servers"] {
            fields.refuse(name, "is not supported")?;
        }
        let mut format = own.output_format.map(|format| ("output_format", format));
        let inner = own.output_config.and_then(|config| config.format);
        format = inner.map(|inner| ("output_config.format", inner)).or(format);
        let mut asked = read(&mut fields, &asking.served)?;
        asked.structure.format = format.map_or(Ok(None), |(name, format)| flat_format(name, format))?;
        let (model, stops) = (asking.served.name.clone(), params.stops.clone());
        let form = Answer { id: fresh_id("msg_", 24), model, stops };
        Ok((form, asking.conversation(asked, params).await?))
    }

    async fn whole(&self, mut generation: Generation<'_>) -> Result<Value, Failure> {
        let blocks = Blocks::whole(&mut generation).await?;
        Ok(json!(self.message(&blocks, &generation.usage)))
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

    fn error(failure: &Failure) -> Value {
        failure.anthropic()
    }

    fn error_event(failure: &Failure, _: usize) -> String {
        format!("event: error\ndata: {}\n\n", failure.anthropic())
    }
}

impl Answer {
    fn message(&self, blocks: &Blocks, used: &Usage) -> MessageTold {
        let (reason, stop) = self.reason(blocks);
        MessageTold {
            id: self.id.clone(),
            r#type: "message",
            role: "assistant",
            model: self.model.clone(),
            content: blocks.all.iter().map(block).collect(),
            stop_reason: reason,
            stop_sequence: stop.map(str::to_owned),
            stop_details: Never,
            container: Never,
            usage: usage(used),
        }
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
}

async fn send(events: &sse::Events, name: &str, mut event: Value) {
    event["type"] = name.into();
    events.send_named(name, &event).await;
}

fn block(block: &Block) -> BlockTold {
    match block {
        Block::Reasoning(text) => BlockTold::Thinking { thinking: text.clone(), signature: String::new() },
        Block::Text(text) => BlockTold::Text { text: text.clone(), citations: Never },
        Block::Call { id, name, arguments } => {
            // What a model broke off is no JSON.
            let input = serde_json::from_str(arguments).unwrap_or_default();
            BlockTold::ToolUse { id: id.clone(), name: name.clone(), input, caller: Caller::Direct }
        }
    }
}

fn usage(used: &Usage) -> MessageUsage {
    MessageUsage {
        input_tokens: used.prompt - used.cached.min(used.prompt),
        output_tokens: used.completion,
        cache_read_input_tokens: used.cached,
        cache_creation_input_tokens: 0,
        output_tokens_details: ThinkingUsage { thinking_tokens: used.reasoning },
        service_tier: "standard",
        cache_creation: Never,
        inference_geo: Never,
        server_tool_use: Never,
    }
}
