//! What is answered.

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::serve::blocks::{Block, Blocks};
use crate::serve::conversation::Effort;
use crate::serve::generation::Reason;
use crate::serve::params::fresh_id;
use crate::serve::schema::Never;

/// A whole answer, or one that is under way.
#[derive(Serialize, ToSchema)]
#[schema(as = Response)]
pub struct ResponseTold {
    pub id: String,
    /// `response`.
    pub object: &'static str,
    /// Unix seconds.
    pub created_at: u64,
    /// Null where it is not whole.
    pub completed_at: Option<u64>,
    /// `in_progress`, `completed` or `incomplete`.
    pub status: &'static str,
    pub error: Never,
    pub incomplete_details: Option<Incomplete>,
    pub instructions: Option<String>,
    pub max_output_tokens: Option<usize>,
    pub model: String,
    pub output: Vec<ItemTold>,
    pub parallel_tool_calls: bool,
    pub previous_response_id: Never,
    pub reasoning: ReasoningTold,
    pub store: bool,
    pub temperature: f32,
    pub text: TextFormat,
    /// As it came.
    pub tool_choice: Value,
    /// As they came.
    #[schema(value_type = Vec<Object>)]
    pub tools: Vec<Value>,
    pub top_p: f32,
    pub presence_penalty: f32,
    pub frequency_penalty: f32,
    /// 0.
    pub top_logprobs: usize,
    pub max_tool_calls: Never,
    /// False.
    pub background: bool,
    /// `default`.
    pub service_tier: &'static str,
    pub safety_identifier: Never,
    pub prompt_cache_key: Never,
    /// `disabled`.
    pub truncation: &'static str,
    pub usage: Option<ResponseUsage>,
    #[schema(value_type = Object)]
    pub metadata: Map<String, Value>,
}

#[derive(Serialize, ToSchema)]
pub struct Incomplete {
    /// `max_output_tokens`.
    pub reason: &'static str,
}

#[derive(Serialize, ToSchema)]
pub struct ReasoningTold {
    pub effort: Option<Effort>,
    pub summary: Never,
}

#[derive(Serialize, ToSchema)]
pub struct TextFormat {
    /// As it was asked for.
    pub format: Value,
}

/// A stretch of an answer.
#[derive(Serialize, ToSchema)]
#[schema(as = ResponseItem)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ItemTold {
    Reasoning {
        id: String,
        summary: Vec<Never>,
        content: Vec<PartTold>,
        status: &'static str,
    },
    Message {
        id: String,
        role: &'static str,
        content: Vec<PartTold>,
        status: &'static str,
    },
    FunctionCall {
        id: String,
        call_id: String,
        name: String,
        /// The text of a JSON object.
        arguments: String,
        status: &'static str,
    },
}

#[derive(Serialize, ToSchema)]
#[schema(as = ResponsePart)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum PartTold {
    OutputText { text: String, annotations: Vec<Never>, logprobs: Vec<Never> },
    ReasoningText { text: String },
}

#[derive(Serialize, ToSchema)]
pub struct ResponseUsage {
    pub input_tokens: usize,
    pub input_tokens_details: InputDetails,
    pub output_tokens: usize,
    pub output_tokens_details: OutputDetails,
    pub total_tokens: usize,
}

#[derive(Serialize, ToSchema)]
pub struct InputDetails {
    /// Those that were computed before.
    pub cached_tokens: usize,
    /// 0: what is kept costs nothing.
    pub cache_write_tokens: usize,
}

#[derive(Serialize, ToSchema)]
pub struct OutputDetails {
    pub reasoning_tokens: usize,
}

pub fn item_id(block: &Block) -> String {
    let prefix = match block {
        Block::Reasoning(_) => "rs_",
        Block::Text(_) => "msg_",
        Block::Call { .. } => "fc_",
    };
    fresh_id(prefix, 24)
}

/// How far an item is.
#[derive(Clone, Copy, PartialEq)]
pub enum Status {
    /// More of it comes.
    Open,
    Whole,
    /// It is the last one of an answer that was cut.
    Cut,
}

impl Status {
    /// That of a block that has ended.
    pub fn of(blocks: &Blocks, n: usize) -> Status {
        match blocks.reason == Some(Reason::Length) && n + 1 == blocks.all.len() {
            true => Status::Cut,
            false => Status::Whole,
        }
    }
}

/// A block as an item; without its content while it is open.
pub fn item(block: &Block, id: &str, status: Status) -> ItemTold {
    let open = status == Status::Open;
    let status = match status {
        Status::Open => "in_progress",
        Status::Whole => "completed",
        Status::Cut => "incomplete",
    };
    let id = id.to_owned();
    let content = |part: PartTold| if open { Vec::new() } else { vec![part] };
    match block {
        Block::Reasoning(text) => {
            let content = content(PartTold::ReasoningText { text: text.clone() });
            ItemTold::Reasoning { id, summary: Vec::new(), content, status }
        }
        Block::Text(text) => {
            ItemTold::Message { id, role: "assistant", content: content(text_part(text)), status }
        }
        Block::Call { id: call, name, arguments } => {
            let arguments = if open { String::new() } else { arguments.clone() };
            ItemTold::FunctionCall { id, call_id: call.clone(), name: name.clone(), arguments, status }
        }
    }
}

pub fn text_part(text: &str) -> PartTold {
    PartTold::OutputText { text: text.into(), annotations: Vec::new(), logprobs: Vec::new() }
}
