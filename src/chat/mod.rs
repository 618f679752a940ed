//! Conversations and what a model is given of them: knows no terminal and no HTTP.
//!
//! A [`Conversation`] goes through a [`ChatTemplate`], the model's own or one with a [name](builtin), and becomes a
//! [`Rendered`] prompt, whose special tokens all come from the template: what people wrote stays text (`guard`).
//! The language of templates is Jinja with what Hugging Face adds (`python`).

pub mod builtin;
mod capabilities;
mod conversation;
mod guard;
mod json;
mod python;
mod rendered;
mod template;

pub use capabilities::Capabilities;
pub use conversation::{Content, Conversation, Function, Message, Part, ToolCall};
pub use rendered::Rendered;
pub use template::{ChatTemplate, Options};
