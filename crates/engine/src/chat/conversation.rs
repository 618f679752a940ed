//! Who said what, with tools and documents, in the shape that templates and OpenAI's API share. What is not known
//! here is kept and handed to the template as it came, keys in their order.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

/// Messages, and what the model may use to answer them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Conversation {
    /// In the order in which they were said.
    pub messages: Vec<Message>,
    /// Functions that the model may call: JSON schemas, as in OpenAI's API.
    #[serde(default, deserialize_with = "or_empty", skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<Value>,
    /// Texts to answer from, as objects with `title` and `text`.
    #[serde(default, deserialize_with = "or_empty", skip_serializing_if = "Vec::is_empty")]
    pub documents: Vec<Value>,
}

/// What one side said.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user`, `assistant`, `tool`, or what else a template knows.
    pub role: String,
    /// Absent and `null` are different things to some templates.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub content: Option<Content>,
    /// What the model thought before it answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
    /// Functions that the assistant calls.
    #[serde(default, deserialize_with = "or_empty", skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    /// Which call a `tool` message answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
    /// Who speaks, or the function that answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Every other key.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// What a message holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Content {
    /// A text.
    Text(String),
    /// Texts and other things, one behind the other.
    Parts(Vec<Part>),
    /// `null`, as beside tool calls.
    Null,
}

/// A part of a message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// `text`, or what else a template knows.
    #[serde(rename = "type")]
    pub kind: String,
    /// The text of a `text` part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Every other key.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// A call of a function.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    /// What the answer refers to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// `function`.
    #[serde(rename = "type", default = "function_kind")]
    pub kind: String,
    /// What is called.
    pub function: Function,
    /// Every other key.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// A function and what it is called with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// An object, or the text of one: templates get what they can write.
    #[serde(default)]
    pub arguments: Value,
}

impl Message {
    /// A message that is one text.
    pub fn text(role: impl Into<String>, text: impl Into<String>) -> Message {
        Message { role: role.into(), content: Some(Content::Text(text.into())), ..Message::default() }
    }

    /// What the person says.
    pub fn user(text: impl Into<String>) -> Message {
        Message::text("user", text)
    }

    /// What the model says.
    pub fn assistant(text: impl Into<String>) -> Message {
        Message::text("assistant", text)
    }

    /// What the model is told to be.
    pub fn system(text: impl Into<String>) -> Message {
        Message::text("system", text)
    }
}

impl Conversation {
    /// How often the person spoke: each turn is what they said and all that came of it. What is in front of the first belongs to none.
    pub fn turns(&self) -> usize {
        self.messages.iter().filter(|message| message.role == "user").count()
    }

    /// The conversation without its first `count` turns, with what is in front of them; none if nothing is to be left out, or no turn would be left.
    pub fn without_turns(&self, count: usize) -> Option<Conversation> {
        let starts: Vec<usize> =
            (0..self.messages.len()).filter(|&i| self.messages[i].role == "user").collect();
        let (&first, &kept) = (starts.first()?, starts.get(count).filter(|_| count > 0)?);
        let messages = [&self.messages[..first], &self.messages[kept..]].concat();
        Some(Conversation { messages, ..self.clone() })
    }
}

impl Content {
    /// The text, or that of all parts if they are texts alone.
    pub fn plain(&self) -> Option<String> {
        match self {
            Content::Text(text) => Some(text.clone()),
            Content::Parts(parts) => {
                let text = |part: &Part| part.text.clone().filter(|_| part.kind == "text");
                parts.iter().map(text).collect()
            }
            Content::Null => None,
        }
    }
}

impl From<Vec<Message>> for Conversation {
    fn from(messages: Vec<Message>) -> Conversation {
        Conversation { messages, ..Conversation::default() }
    }
}

/// `null` is an empty list.
fn or_empty<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// `null` is there.
fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Content>, D::Error> {
    Content::deserialize(from).map(Some)
}

fn function_kind() -> String {
    "function".into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_written_again_with_its_keys_in_order() {
        let text = r#"{"messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"image","url":"b"}],"z":1,"a":2},{"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":{"y":1,"b":[2.0]}},"k":null}]},{"role":"tool","content":"d","tool_call_id":"c"},{"role":"assistant"}],"tools":[{"y":1,"b":2}]}"#;
        let read: Conversation = serde_json::from_str(text).expect("it is a conversation");
        assert_eq!(serde_json::to_string(&read).expect("it is JSON"), text);
        assert_eq!(read.messages[1].content, Some(Content::Null));
        assert_eq!(read.messages[3].content, None);
        assert_eq!(read.messages[0].content.as_ref().and_then(Content::plain), None);
    }
}
