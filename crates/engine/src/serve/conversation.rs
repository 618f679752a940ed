//! A conversation out of a request's fields, checked, and what the model is given of it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::constrained::{Structure, Tools};
use super::failure::Failure;
use super::fields::{Fields, wrong};
use super::served::Served;
use crate::chat::{CallFormat, Conversation, Message, Options, Rendered};

/// A conversation, and what a template is told besides.
#[derive(Deserialize, ToSchema)]
pub struct ConversationRequest {
    #[schema(value_type = Vec<ChatMessage>, min_items = 1)]
    messages: Vec<Value>,
    #[schema(value_type = Option<Vec<Tool>>)]
    tools: Option<Vec<Value>>,
    tool_choice: Option<Value>,
    /// False ends an answer behind its first call.
    parallel_tool_calls: Option<bool>,
    /// Texts to answer from, with `title` and `text`.
    #[schema(value_type = Option<Vec<Object>>)]
    documents: Option<Vec<Value>>,
    reasoning_effort: Option<Effort>,
    #[schema(value_type = Option<Object>)]
    chat_template_kwargs: Option<Map<String, Value>>,
}

/// How much to think.
#[derive(Clone, Copy, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Effort {
    None,
    Minimal,
    Low,
    Medium,
    High,
    Xhigh,
    Max,
}

/// Who speaks.
#[derive(Clone, Copy, PartialEq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Role {
    System,
    Developer,
    User,
    Assistant,
    Tool,
    Function,
}

/// What one side said. What holds to this is read as a [`Message`], which keeps what is not known here for the template.
#[derive(Deserialize, ToSchema)]
struct ChatMessage {
    role: Role,
    content: Option<ChatContent>,
    #[allow(dead_code)]
    reasoning_content: Option<String>,
    tool_calls: Option<Vec<ChatCall>>,
    #[allow(dead_code)]
    tool_call_id: Option<String>,
    #[allow(dead_code)]
    name: Option<String>,
}

/// A text, or parts of one.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
#[allow(dead_code)]
enum ChatContent {
    Text(String),
    Parts(Vec<ChatPart>),
}

#[derive(Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
#[allow(dead_code)]
enum ChatPart {
    Text {
        text: String,
    },
    /// Of the assistant, as it came.
    Refusal {
        refusal: String,
    },
}

#[derive(Deserialize, ToSchema)]
#[allow(dead_code)]
struct ChatCall {
    id: Option<String>,
    function: ChatFunction,
}

#[derive(Deserialize, ToSchema)]
#[allow(dead_code)]
struct ChatFunction {
    name: String,
    /// The text of an object, or the object.
    arguments: Option<Value>,
}

/// A function that the model may call. It goes to the template as it came.
#[derive(Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
#[allow(dead_code)]
pub enum Tool {
    Function { function: ToolFunction },
}

#[derive(Deserialize, ToSchema)]
#[allow(dead_code)]
pub struct ToolFunction {
    name: String,
    description: Option<String>,
    /// A JSON schema.
    #[schema(value_type = Option<Object>)]
    parameters: Option<Value>,
    /// Whether arguments are held to the schema where no call is forced, too.
    strict: Option<bool>,
}

/// A conversation, and how it is rendered.
#[derive(Clone, Debug)]
pub struct Asked {
    pub conversation: Conversation,
    pub options: Options,
    /// How calls are looked for in the answer; none where there are no tools to call.
    pub calls: Option<CallFormat>,
    /// What form the answer must have.
    pub structure: Structure,
}

/// Reads `messages`, tools and what a template is told.
pub fn read(fields: &mut Fields, served: &Served) -> Result<Asked, Failure> {
    let given: ConversationRequest = fields.take()?;
    let messages = given.messages.into_iter().enumerate();
    let messages = messages.map(|(i, item)| message(&format!("messages[{i}]"), item, served));
    let conversation = Conversation {
        messages: messages.collect::<Result<_, _>>()?,
        tools: given.tools.unwrap_or_default(),
        documents: given.documents.unwrap_or_default(),
    };
    let mut variables = given.chat_template_kwargs.unwrap_or_default();
    if let Some(effort) = given.reasoning_effort {
        reason(&mut variables, effort);
    }
    let parallel = given.parallel_tool_calls.unwrap_or(true);
    asked(conversation, given.tool_choice, parallel, variables, served)
}

/// Puts a request together, once its conversation is read.
pub fn asked(
    mut conversation: Conversation,
    choice: Option<Value>,
    parallel: bool,
    variables: Map<String, Value>,
    served: &Served,
) -> Result<Asked, Failure> {
    if conversation.messages.is_empty() {
        return Err(Failure::field("messages", "is empty, expected one message at least"));
    }
    for (i, tool) in conversation.tools.iter().enumerate() {
        let name = format!("tools[{i}]");
        let function = tool.get("function");
        if tool.get("type").and_then(Value::as_str) != Some("function") {
            return Err(Failure::unsupported(
                format!("{name}.type"),
                "is no 'function', and other tools are not known",
            ));
        }
        if function.and_then(|f| f.get("name")).and_then(Value::as_str).is_none_or(str::is_empty) {
            return Err(Failure::field(format!("{name}.function.name"), "is required: the function's name"));
        }
    }
    let mut structure = Structure { one_call: !parallel, ..Structure::default() };
    match choice.as_ref().map(|choice| (choice, choice.as_str())) {
        None | Some((_, Some("auto"))) => {}
        Some((_, Some("none"))) => conversation.tools.clear(),
        Some((_, Some("required"))) => structure.required = Some(Tools::of(&conversation.tools, None)?),
        Some((Value::Object(choice), _)) => {
            if choice.get("type").is_some_and(|kind| kind != "function") {
                return Err(Failure::unsupported(
                    "tool_choice.type",
                    "is no 'function', and nothing else is supported",
                ));
            }
            let name =
                choice.get("function").map_or_else(|| choice.get("name"), |function| function.get("name"));
            let Some(name) = name.and_then(Value::as_str) else {
                return Err(Failure::field("tool_choice.function.name", "is required: the function's name"));
            };
            structure.required = Some(Tools::of(&conversation.tools, Some(name))?);
        }
        Some((other, _)) => {
            return Err(wrong("tool_choice", "'auto', 'none', 'required' or an object", other));
        }
    }
    let tools = !conversation.tools.is_empty();
    if tools && !template(served)?.capabilities().tools {
        let what = "are given, but this model's chat template writes none: start the server with another --chat-template";
        return Err(Failure::unsupported("tools", what));
    }
    let options = Options { add_generation_prompt: true, variables, ..Options::default() };
    let calls = served.calls.filter(|_| tools);
    structure.offered = conversation.tools.clone();
    if structure.required.is_some() && calls.is_none() {
        let what = "asks for a call, and how this model writes calls is not known: give 'auto' or 'none'";
        return Err(Failure::unsupported("tool_choice", what));
    }
    Ok(Asked { conversation, options, calls, structure })
}

impl Asked {
    /// What the model is given.
    pub fn render(&self, served: &Served) -> Result<Rendered, Failure> {
        Ok(template(served)?.render(&self.conversation, &self.options)?)
    }
}

fn template(served: &Served) -> Result<&crate::chat::ChatTemplate, Failure> {
    served.template.as_ref().map_err(|error| Failure::request(error.to_string()))
}

/// Tells the template how much to think.
pub fn reason(variables: &mut Map<String, Value>, effort: Effort) {
    variables.entry("reasoning_effort").or_insert(json!(effort));
    variables.entry("enable_thinking").or_insert((!matches!(effort, Effort::None)).into());
}

/// A message that holds to its schema, for the template.
fn message(name: &str, mut item: Value, served: &Served) -> Result<Message, Failure> {
    let no_message = |error: serde_json::Error| Failure::field(name, format!("is no message: {error}"));
    let held = ChatMessage::deserialize(&item).map_err(no_message)?;
    // Few templates know developers.
    let known = served.template.as_ref().is_ok_and(|template| template.text().contains("developer"));
    if held.role == Role::Developer && !known {
        item["role"] = json!(Role::System);
    }
    if held.content.is_none() && held.role != Role::Assistant && held.tool_calls.is_none() {
        return Err(Failure::field(format!("{name}.content"), "is required: a string"));
    }
    // To a template, what was said in refusal was said.
    for part in item.get_mut("content").and_then(Value::as_array_mut).into_iter().flatten() {
        if part["type"] == "refusal" {
            *part = json!({ "type": "text", "text": part["refusal"].take() });
        }
    }
    serde_json::from_value(item).map_err(no_message)
}
