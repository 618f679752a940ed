//! A conversation out of a request's fields, checked, and what the model is given of it.

use serde_json::{Map, Value, json};

use super::constrained::{Structure, Tools};
use super::failure::Failure;
use super::fields::{Fields, wrong};
use super::served::Served;
use crate::chat::{CallFormat, Conversation, Message, Options, Rendered};

/// Who may speak.
const ROLES: [&str; 6] = ["system", "developer", "user", "assistant", "tool", "function"];

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
    let Some(items) = fields.list("messages")? else {
        return Err(Failure::field("messages", "is required: a list of messages"));
    };
    let messages =
        items.into_iter().enumerate().map(|(i, item)| message(&format!("messages[{i}]"), item, served));
    let messages: Vec<Message> = messages.collect::<Result<_, _>>()?;
    let tools = fields.list("tools")?.unwrap_or_default();
    let choice = fields.any("tool_choice");
    let parallel = fields.flag("parallel_tool_calls")?.unwrap_or(true);
    let documents = fields.list("documents")?.unwrap_or_default();
    let conversation = Conversation { messages, tools, documents };
    let variables = variables(fields)?;
    asked(conversation, choice, parallel, variables, served)
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

/// What the template is told besides the conversation.
pub fn variables(fields: &mut Fields) -> Result<Map<String, Value>, Failure> {
    let mut variables = fields.object("chat_template_kwargs")?.unwrap_or_default();
    if let Some(effort) = fields.text("reasoning_effort")? {
        reason(&mut variables, &effort)?;
    }
    Ok(variables)
}

/// Tells the template how much to think.
pub fn reason(variables: &mut Map<String, Value>, effort: &str) -> Result<(), Failure> {
    if !["none", "minimal", "low", "medium", "high", "xhigh"].contains(&effort) {
        let what = format!("is {effort:?}, expected none, minimal, low, medium, high or xhigh");
        return Err(Failure::field("reasoning_effort", what));
    }
    variables.entry("reasoning_effort").or_insert(effort.into());
    variables.entry("enable_thinking").or_insert((effort != "none").into());
    Ok(())
}

fn message(name: &str, item: Value, served: &Served) -> Result<Message, Failure> {
    let Value::Object(mut map) = item else { return Err(wrong(name, "an object", &item)) };
    let role = match map.get("role") {
        Some(Value::String(role)) => role.clone(),
        Some(other) => return Err(wrong(&format!("{name}.role"), "a string", other)),
        None => {
            return Err(Failure::field(
                format!("{name}.role"),
                format!("is required: one of {}", ROLES.join(", ")),
            ));
        }
    };
    if !ROLES.contains(&&*role) {
        return Err(Failure::field(
            format!("{name}.role"),
            format!("is {role:?}, expected one of {}", ROLES.join(", ")),
        ));
    }
    // Few templates know developers.
    let known = served.template.as_ref().is_ok_and(|template| template.text().contains("developer"));
    if role == "developer" && !known {
        map.insert("role".into(), json!("system"));
    }
    let calls = map.get("tool_calls").is_some_and(|calls| !calls.is_null());
    match map.get("content") {
        Some(Value::String(_)) => {}
        Some(Value::Array(parts)) => {
            for (i, part) in parts.iter().enumerate() {
                let name = format!("{name}.content[{i}]");
                match part.get("type").and_then(Value::as_str) {
                    Some("text") if part.get("text").is_some_and(Value::is_string) => {}
                    Some("text") => {
                        return Err(Failure::field(format!("{name}.text"), "is required: a string"));
                    }
                    Some(kind) => {
                        let what = format!("is {kind:?}, and only 'text' is supported");
                        return Err(Failure::unsupported(format!("{name}.type"), what));
                    }
                    None => return Err(Failure::field(format!("{name}.type"), "is required: 'text'")),
                }
            }
        }
        None | Some(Value::Null) if role == "assistant" || calls => {}
        None | Some(Value::Null) => {
            return Err(Failure::field(format!("{name}.content"), "is required: a string"));
        }
        Some(other) => return Err(wrong(&format!("{name}.content"), "a string or a list of parts", other)),
    }
    serde_json::from_value(Value::Object(map))
        .map_err(|error| Failure::field(name, format!("is no message: {error}")))
}
