//! What a template can write, found out by letting it write it.

use serde_json::{Value, json};

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
        let text = |conversation: Value| {
            let conversation = serde_json::from_value(conversation).unwrap_or_default();
            render(&conversation).filter(|text| text.contains(NEEDLE))
        };
        let parts = |text: &str| json!([{ "type": "text", "text": text }]);
        // Some templates want contents that are texts, some want parts.
        let after_user = |message: &dyn Fn(Value) -> Value| {
            let contents = [(json!("a"), json!("")), (parts("a"), json!([]))];
            contents.into_iter().find_map(|(user, empty)| {
                let messages = json!([{ "role": "user", "content": user }, message(empty)]);
                text(json!({ "messages": messages }))
            })
        };
        let call = |arguments: Value| {
            let function = json!({ "name": "call", "arguments": arguments });
            let calls = json!([{ "id": "abcdef123", "type": "function", "function": function }]);
            after_user(&|empty| json!({ "role": "assistant", "content": empty, "tool_calls": calls }))
        };
        let objects = call(json!({ "key": NEEDLE }));
        let typed = text(json!({ "messages": [{ "role": "user", "content": parts(NEEDLE) }] }));
        let tool = json!({
            "type": "function",
            "function": { "name": NEEDLE, "description": "b", "parameters": { "type": "object", "properties": {} } },
        });
        let tools = text(json!({ "messages": [{ "role": "user", "content": "a" }], "tools": [tool] }))
            .or_else(|| {
                text(json!({ "messages": [{ "role": "user", "content": parts("a") }], "tools": [tool] }))
            });
        let system = |content: Value, user: Value| {
            text(
                json!({ "messages": [{ "role": "system", "content": content }, { "role": "user", "content": user }] }),
            )
        };
        Capabilities {
            system_role: system(json!(NEEDLE), json!("a"))
                .or_else(|| system(parts(NEEDLE), parts("a")))
                .is_some(),
            string_content: text(json!({ "messages": [{ "role": "user", "content": NEEDLE }] })).is_some(),
            // A list that is written as Python writes lists was not understood.
            typed_content: typed.is_some_and(|text| !text.contains("'type'") && !text.contains("\"type\"")),
            tools: tools.is_some(),
            tool_calls: objects.is_some() || call(json!(format!("{{\"key\": \"{NEEDLE}\"}}"))).is_some(),
            object_arguments: objects.is_some(),
        }
    }
}
