//! What a template can write, found out by letting it write it.

use serde_json::json;

use super::conversation::Conversation;

/// What of a conversation a template passes on to the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Messages of the role `system`.
    pub system_role: bool,
    /// Contents that are a text.
    pub string_content: bool,
    /// Contents that are a list of parts.
    pub typed_content: bool,
    /// The functions that may be called.
    pub tools: bool,
    /// The assistant's calls.
    pub tool_calls: bool,
    /// Arguments of calls that are objects; otherwise they are given as JSON text.
    pub object_arguments: bool,
}

/// What no template writes by itself.
const NEEDLE: &str = "nDl9";

impl Capabilities {
    /// Tries everything with `render`, which gives the text of a conversation, or none if the template refuses it.
    pub(super) fn find(render: impl Fn(&Conversation) -> Option<String>) -> Capabilities {
        let text = |conversation: serde_json::Value| {
            let conversation = serde_json::from_value(conversation).unwrap_or_default();
            render(&conversation).filter(|text| text.contains(NEEDLE))
        };
        let user = json!({ "role": "user", "content": "a" });
        let call = |arguments: serde_json::Value| {
            let function = json!({ "name": "call", "arguments": arguments });
            let calls = json!([{ "id": "abcdef123", "type": "function", "function": function }]);
            let assistant = json!({ "role": "assistant", "content": "", "tool_calls": calls });
            text(json!({ "messages": [user, assistant] }))
        };
        let objects = call(json!({ "key": NEEDLE }));
        let parts = json!([{ "type": "text", "text": NEEDLE }]);
        let parts = text(json!({ "messages": [{ "role": "user", "content": parts }] }));
        let tool = json!({
            "type": "function",
            "function": { "name": NEEDLE, "description": "b", "parameters": { "type": "object", "properties": {} } },
        });
        Capabilities {
            system_role: text(json!({ "messages": [{ "role": "system", "content": NEEDLE }, user] }))
                .is_some(),
            string_content: text(json!({ "messages": [{ "role": "user", "content": NEEDLE }] })).is_some(),
            // A list that is written as Python writes lists was not understood.
            typed_content: parts.is_some_and(|text| !text.contains("'type'") && !text.contains("\"type\"")),
            tools: text(json!({ "messages": [user], "tools": [tool] })).is_some(),
            tool_calls: objects.is_some() || call(json!(format!("{{\"key\": \"{NEEDLE}\"}}"))).is_some(),
            object_arguments: objects.is_some(),
        }
    }
}
