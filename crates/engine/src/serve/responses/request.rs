//! What is asked for, and the conversation in it.

use serde::Deserialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use crate::chat::{Content, Conversation, Function, Message, ToolCall};
use crate::serve::conversation::{self, Effort};
use crate::serve::failure::Failure;
use crate::serve::params::Limit;
use crate::serve::served::Served;

/// The fields that only responses have.
#[derive(Deserialize, ToSchema)]
pub struct ResponsesRequest {
    pub input: GivenInput,
    /// A message of the system in front of the input.
    pub instructions: Option<String>,
    pub max_output_tokens: Option<Limit>,
    #[schema(value_type = Option<Vec<FunctionTool>>)]
    pub tools: Option<Vec<Value>>,
    pub tool_choice: Option<Value>,
    /// False ends an answer behind its first call.
    pub parallel_tool_calls: Option<bool>,
    #[allow(dead_code)]
    truncation: Option<Truncation>,
    #[schema(value_type = Option<Object>)]
    pub text: Option<Map<String, Value>>,
    pub reasoning: Option<Reasoning>,
    /// What the answer is to hold besides.
    pub include: Option<Vec<String>>,
    /// Repeated in the answer.
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<Map<String, Value>>,
    #[schema(value_type = Option<Object>)]
    pub chat_template_kwargs: Option<Map<String, Value>>,
}

/// Nothing is left out.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Truncation {
    Disabled,
}

#[derive(Deserialize, ToSchema)]
pub struct Reasoning {
    pub effort: Option<Effort>,
}

/// A function that the model may call. It goes to the template as it came.
#[derive(Deserialize, ToSchema)]
#[allow(dead_code)]
pub struct FunctionTool {
    r#type: FunctionTag,
    name: String,
    description: Option<String>,
    /// A JSON schema.
    #[schema(value_type = Option<Object>)]
    parameters: Option<Value>,
    /// Whether arguments are held to the schema where no call is forced, too.
    strict: Option<bool>,
}

/// A text of the user, or all that was said.
#[derive(Deserialize, ToSchema)]
#[schema(as = ResponsesInput)]
#[serde(untagged)]
pub enum GivenInput {
    Text(String),
    Items(Vec<GivenItem>),
}

#[derive(Deserialize, ToSchema)]
#[schema(as = ResponsesItemGiven)]
#[serde(untagged)]
pub enum GivenItem {
    Call(GivenCall),
    Output(GivenOutput),
    Reasoning(GivenReasoning),
    Message(GivenMessage),
}

#[derive(Deserialize, ToSchema)]
#[schema(as = ResponsesCallGiven)]
pub struct GivenCall {
    #[allow(dead_code)]
    r#type: CallTag,
    call_id: String,
    name: String,
    arguments: String,
}

#[derive(Deserialize, ToSchema)]
#[schema(as = ResponsesOutputGiven)]
pub struct GivenOutput {
    #[allow(dead_code)]
    r#type: OutputTag,
    call_id: String,
    output: Texts,
}

/// What was thought before is not needed any more.
#[derive(Deserialize, ToSchema)]
#[schema(as = ResponsesReasoningGiven)]
pub struct GivenReasoning {
    #[allow(dead_code)]
    r#type: ReasoningTag,
}

#[derive(Deserialize, ToSchema)]
#[schema(as = ResponsesMessageGiven)]
pub struct GivenMessage {
    #[allow(dead_code)]
    r#type: Option<MessageTag>,
    role: GivenRole,
    content: Texts,
}

#[derive(Deserialize, ToSchema)]
#[schema(as = ResponsesRole)]
#[serde(rename_all = "lowercase")]
pub enum GivenRole {
    User,
    Assistant,
    System,
    Developer,
}

/// A text, or parts of one.
#[derive(Deserialize, ToSchema)]
#[schema(as = ResponsesTexts)]
#[serde(untagged)]
pub enum Texts {
    Text(String),
    Parts(Vec<TextPart>),
}

#[derive(Deserialize, ToSchema)]
#[schema(as = ResponsesTextGiven)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum TextPart {
    InputText {
        text: String,
    },
    /// Of the assistant.
    OutputText {
        text: String,
    },
    /// Of the assistant, as it came.
    Refusal {
        refusal: String,
    },
    Text {
        text: String,
    },
}

impl TextPart {
    fn text(self) -> String {
        match self {
            TextPart::InputText { text } | TextPart::OutputText { text } | TextPart::Text { text } => text,
            TextPart::Refusal { refusal } => refusal,
        }
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FunctionTag {
    Function,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CallTag {
    FunctionCall,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OutputTag {
    FunctionCallOutput,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReasoningTag {
    Reasoning,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MessageTag {
    Message,
}

impl Texts {
    fn joined(self) -> String {
        match self {
            Texts::Text(text) => text,
            Texts::Parts(parts) => parts.into_iter().map(TextPart::text).collect(),
        }
    }
}

/// What a response repeats of its request.
pub struct Echo {
    pub instructions: Option<String>,
    pub tools: Vec<Value>,
    pub choice: Option<Value>,
    pub parallel: bool,
    pub metadata: Map<String, Value>,
    pub limit: Option<usize>,
    pub temperature: f32,
    pub top_p: f32,
    pub presence_penalty: f32,
    pub frequency_penalty: f32,
    pub effort: Option<Effort>,
    /// What form the answer must have.
    pub format: Option<Value>,
}

/// A tool with everything that clients look for in an answer.
pub fn described(mut tool: Value) -> Value {
    for name in ["description", "parameters", "strict"] {
        if let Some(tool) = tool.as_object_mut() {
            tool.entry(name).or_insert(Value::Null);
        }
    }
    tool
}

/// The conversation, in the form that templates know.
pub fn read(
    input: GivenInput,
    mut variables: Map<String, Value>,
    echo: &Echo,
    served: &Served,
) -> Result<conversation::Asked, Failure> {
    let mut messages: Vec<Message> = echo.instructions.iter().map(Message::system).collect();
    match input {
        GivenInput::Text(text) => messages.push(Message::user(text)),
        GivenInput::Items(items) if items.is_empty() => {
            return Err(Failure::field("input", "is empty, expected one item at least"));
        }
        GivenInput::Items(items) => items.into_iter().for_each(|item| item.push_to(&mut messages)),
    }
    let tool = |tool: &Value| {
        let mut function = tool.clone();
        let kind = function.as_object_mut().and_then(|function| function.shift_remove("type"));
        json!({ "type": kind, "function": function })
    };
    let tools = echo.tools.iter().map(tool).collect();
    if let Some(effort) = echo.effort {
        conversation::reason(&mut variables, effort);
    }
    let conversation = Conversation { messages, tools, documents: Vec::new() };
    conversation::asked(conversation, echo.choice.clone(), echo.parallel, variables, served)
}

impl GivenItem {
    fn push_to(self, messages: &mut Vec<Message>) {
        match self {
            GivenItem::Message(GivenMessage { role, content, .. }) => {
                let role = match role {
                    GivenRole::User => "user",
                    GivenRole::Assistant => "assistant",
                    GivenRole::System | GivenRole::Developer => "system",
                };
                messages.push(Message::text(role, content.joined()));
            }
            GivenItem::Call(GivenCall { call_id, name, arguments, .. }) => {
                let call = ToolCall {
                    id: Some(call_id),
                    kind: "function".into(),
                    function: Function { name, arguments: arguments.into() },
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
            GivenItem::Output(GivenOutput { call_id, output, .. }) => {
                let answer = Message::text("tool", output.joined());
                messages.push(Message { tool_call_id: Some(call_id), ..answer });
            }
            GivenItem::Reasoning(_) => {}
        }
    }
}
