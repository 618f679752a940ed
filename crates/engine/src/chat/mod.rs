//! Conversations and what a model is given of them: knows no terminal and no HTTP.
//!
//! A [`Conversation`] goes through a [`ChatTemplate`], the model's own or one with a [name](builtin), and becomes a
//! [`Rendered`] prompt, whose special tokens all come from the template: what people wrote stays text (`guard`).
//! The language of templates is Jinja with what Hugging Face adds (`python`): jinja2's reading of a text (`source`), Python's ways to
//! write values (`repr`, `json`), its `methods` and jinja2's `filters`. A [`Dialog`] goes on in a
//! [`Session`](crate::session::Session); a [`Reply`] makes text and thoughts of the tokens that come, for whoever drives a scheduler, and
//! [`Calls`] finds calls of tools in the text.

pub mod builtin;
mod call;
#[cfg(feature = "grammar")]
mod call_grammar;
mod calls;
mod capabilities;
mod conversation;
mod dialog;
mod filters;
mod guard;
mod harmony;
mod json;
mod methods;
mod python;
mod rendered;
mod reply;
mod repr;
mod source;
mod template;
pub mod thinking;

pub use call::CallFormat;
#[cfg(feature = "grammar")]
pub use call_grammar::{Callable, Otherwise, answer_grammar, call_grammar, thought_ahead};
pub use calls::{Calls, Said};
pub use capabilities::Capabilities;
pub use conversation::{Content, Conversation, Function, Message, Part, ToolCall};
pub use dialog::{Answer, Asked, Dialog, Overflow};
pub use rendered::Rendered;
pub use reply::{End, Piece, Reply};
pub use template::{ChatTemplate, Options};
