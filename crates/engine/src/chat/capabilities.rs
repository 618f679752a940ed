//! What a template can write, found out by letting it write it; and messages in the shape that it can write.

use serde_json::{Value, json};

use super::call::CallFormat;
use super::conversation::{Content, Conversation, Message, Part};
use super::json;
use super::template::Failure;

/// What of a conversation a template passes on to the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Messages of the role `system`.
    pub system_role: bool,
    /// Contents that are a text.
    pub string_content: bool,
    /// Contents that are a list of parts.
    pub typed_content: bool,
    /// The same in messages of the roles `system` and `tool`.
    typed_system: bool,
    typed_tool: bool,
    /// The functions that may be called.
    pub tools: bool,
    /// The assistant's calls.
    pub tool_calls: bool,
    /// Arguments of calls that are objects; otherwise they are given as JSON text.
    pub object_arguments: bool,
    /// Arguments of calls that are a text, as objects are written.
    text_arguments: bool,
    /// What stands for no content in messages without calls and in messages with calls.
    none: NoContent,
    none_beside_calls: NoContent,
}

/// What the template is given where an assistant's message has no content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct NoContent {
    /// In the place of none.
    absent: Blank,
    /// In the place of `null`.
    null: Blank,
}

/// A way to say nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blank {
    Absent,
    Null,
    Text,
}

/// What no template writes by itself.
const NEEDLE: &str = "nDl9";

impl Capabilities {
    /// Tries everything with `render`, which gives the text of a conversation.
    pub(super) fn find(render: impl Fn(&Conversation) -> Result<String, Failure>) -> Capabilities {
        let any_text = |messages: Value| {
            let conversation = serde_json::from_value(json!({ "messages": messages })).unwrap_or_default();
            render(&conversation)
        };
        let text = |messages: Value| any_text(messages).ok().filter(|text| text.contains(NEEDLE));
        let parts = |text: &str| json!([{ "type": "text", "text": text }]);
        // A list that is written as Python writes lists was not understood.
        let understood = |text: String| !text.contains("'type'") && !text.contains("\"type\"");
        // Some templates want contents that are texts, some want parts.
        let contents = [(json!("a"), json!("")), (parts("a"), json!([]))];
        let calls = |name: &str, arguments: Value| {
            let function = json!({ "name": name, "arguments": arguments });
            json!([{ "id": "abcdef123", "type": "function", "function": function }])
        };
        let call = |arguments: Value| {
            // Some take what has a content for no call.
            let null = (json!("a"), Value::Null);
            contents.iter().chain([&null]).find_map(|(user, empty)| {
                let call =
                    json!({ "role": "assistant", "content": empty, "tool_calls": calls("call", arguments.clone()) });
                text(json!([{ "role": "user", "content": user }, call]))
            })
        };
        let objects = call(json!({ "key": NEEDLE }));
        let texts = call(json!(json::dumps(&json!({ "key": NEEDLE }))));
        let typed = text(json!([{ "role": "user", "content": parts(NEEDLE) }])).is_some_and(understood);
        let tool = json!({
            "type": "function",
            "function": { "name": NEEDLE, "description": "b", "parameters": { "type": "object", "properties": {} } },
        });
        let tools = contents.iter().any(|(user, _)| {
            let conversation = json!({ "messages": [{ "role": "user", "content": user }], "tools": [tool] });
            let text = render(&serde_json::from_value(conversation).unwrap_or_default());
            text.is_ok_and(|text| text.contains(NEEDLE))
        });
        let system = |content: Value, user: Value| {
            text(json!([{ "role": "system", "content": content }, { "role": "user", "content": user }]))
        };
        let typed_system = [json!("a"), parts("a")]
            .into_iter()
            .any(|user| system(parts(NEEDLE), user).is_some_and(understood));
        let typed_tool = contents.iter().any(|(user, empty)| {
            let answer = |content: Value| {
                text(json!([
                    { "role": "user", "content": user },
                    { "role": "assistant", "content": empty, "tool_calls": calls("call", json!({})) },
                    { "role": "tool", "tool_call_id": "abcdef123", "name": "call", "content": content },
                ]))
            };
            answer(parts(NEEDLE)).is_some_and(understood)
        });
        let string = text(json!([{ "role": "user", "content": NEEDLE }])).is_some();
        // What nothing becomes is known by the word that Python has for it.
        let none = |calls: Option<Value>| {
            let user = if string { json!("a") } else { parts("a") };
            let try_out = |blank: Blank| {
                let mut message = json!({ "role": "assistant" });
                match blank {
                    Blank::Absent => {}
                    Blank::Null => message["content"] = Value::Null,
                    Blank::Text => message["content"] = json!(""),
                }
                if let Some(calls) = &calls {
                    message["tool_calls"] = calls.clone();
                }
                let rest = calls.is_none().then(|| json!({ "role": "user", "content": user }));
                let messages: Vec<Value> =
                    [json!({ "role": "user", "content": user }), message].into_iter().chain(rest).collect();
                any_text(messages.into())
            };
            let tried = [Blank::Absent, Blank::Null, Blank::Text].map(|blank| (blank, try_out(blank)));
            let nones = |text: &str| text.matches("None").count();
            let texts = || tried.iter().filter_map(|(_, text)| text.as_ref().ok());
            let fewest = texts().map(|text| nones(text)).min();
            let called = texts().any(|text| text.contains(NEEDLE));
            let good = |blank: Blank, given: Blank| {
                tried.iter().filter(|(tried, _)| *tried == blank).any(|(_, text)| match text {
                    Ok(text) => Some(nones(text)) == fewest && (!called || text.contains(NEEDLE)),
                    // What a template refuses in its own words it is given.
                    Err(failure) => blank == given && matches!(failure, Failure::Refused(_)),
                })
            };
            let first = |order: [Blank; 3]| {
                order.into_iter().find(|&blank| good(blank, order[0])).unwrap_or(order[0])
            };
            NoContent {
                absent: first([Blank::Absent, Blank::Null, Blank::Text]),
                null: first([Blank::Null, Blank::Absent, Blank::Text]),
            }
        };
        Capabilities {
            system_role: system(json!(NEEDLE), json!("a"))
                .or_else(|| system(parts(NEEDLE), parts("a")))
                .is_some(),
            string_content: string,
            typed_content: typed,
            typed_system,
            typed_tool,
            tools,
            tool_calls: objects.is_some() || texts.is_some(),
            object_arguments: objects.is_some(),
            // An object that is written as Python writes objects was better a text.
            text_arguments: texts.is_some()
                && objects
                    .as_ref()
                    .is_none_or(|text| Some(text) == texts.as_ref() || text.contains("{'key'")),
            none: none(None),
            none_beside_calls: none(Some(calls(
                NEEDLE,
                if objects.is_some() { json!({}) } else { json!("{}") },
            ))),
        }
    }

    /// Puts a message into a shape that the template can write; `template` is its text.
    pub(super) fn shape(&self, message: &mut Message, template: &str) {
        self.shape_content(message);
        for call in &mut message.tool_calls {
            let arguments = &mut call.function.arguments;
            match arguments {
                Value::String(_) if self.text_arguments => {}
                Value::String(text) if self.object_arguments || !self.tool_calls => {
                    if let Ok(object @ Value::Object(_)) = serde_json::from_str(text) {
                        *arguments = object;
                    }
                }
                Value::Object(_) if self.tool_calls && !self.object_arguments => {
                    *arguments = json::dumps(arguments).into();
                }
                _ => {}
            }
        }
        // Some templates have another name for thoughts. That of gpt-oss takes them beside calls only in the place of the content.
        let content = message.content.as_ref().and_then(Content::plain).is_some_and(|text| !text.is_empty());
        let both = content && !message.tool_calls.is_empty();
        if let Some(thought) = &message.reasoning_content
            && !template.contains("reasoning_content")
            && [".thinking", "'thinking'", "\"thinking\""].iter().any(|name| template.contains(name))
            && !(both && CallFormat::of_template(template) == Some(CallFormat::Harmony))
        {
            message.other.entry("thinking").or_insert_with(|| thought.clone().into());
        }
    }

    fn shape_content(&self, message: &mut Message) {
        let typed = match &*message.role {
            "system" | "developer" => self.typed_system,
            "tool" | "ipython" | "function" => self.typed_tool,
            _ => self.typed_content,
        };
        match &message.content {
            Some(content @ Content::Parts(_)) if !typed => {
                if let Some(text) = content.plain() {
                    message.content = Some(Content::Text(text));
                }
            }
            Some(Content::Text(text)) if typed && self.typed_content && !self.string_content => {
                let part = Part { kind: "text".into(), text: Some(text.clone()), other: Default::default() };
                message.content = Some(Content::Parts(vec![part]));
            }
            None | Some(Content::Null) if message.role == "assistant" => {
                let none = if message.tool_calls.is_empty() { self.none } else { self.none_beside_calls };
                let blank = if message.content.is_none() { none.absent } else { none.null };
                message.content = match blank {
                    Blank::Absent => None,
                    Blank::Null => Some(Content::Null),
                    Blank::Text => Some(Content::Text(String::new())),
                };
            }
            _ => {}
        }
    }
}
