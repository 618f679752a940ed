//! All routes: the table of which the router, the names of paths in numbers, and `/openapi.json` are made.

use std::sync::Arc;

use axum::routing::{MethodRouter, get, post};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::answer::answer;
use super::chat::{Chat, ChatChunk, ChatCompletion, ChatRequest};
use super::completions::{Completion, CompletionRequest, CompletionTold};
use super::constrained::FormatRequest;
use super::conversation::ConversationRequest;
use super::embeddings::{self, Embeddings, EmbeddingsRequest};
use super::messages::{self, MessageTold, MessagesAnswer, MessagesRequest, TokenCount};
use super::openapi::Schemas;
use super::params::Generate;
use super::responses::{self, ResponseTold, ResponsesRequest};
use super::{App, info, openapi, page, text};

/// The schema of a body.
pub type Of = fn(&mut Schemas) -> Value;

/// A path, who answers it, and what is asked and answered.
pub struct Route {
    pub path: &'static str,
    /// `get` or `post`.
    pub method: &'static str,
    pub handler: MethodRouter<Arc<App>>,
    pub summary: &'static str,
    pub body: Option<Of>,
    pub answers: Answers,
}

/// What comes back.
pub enum Answers {
    Json(Of),
    /// One object, or events if the request says `stream`; these are of one kind or several.
    Events {
        whole: Of,
        event: Option<Of>,
    },
    /// A text of this content type.
    Text(&'static str),
}

fn of<T: ToSchema + 'static>(schemas: &mut Schemas) -> Value {
    schemas.of::<T>()
}

/// A body that is read in parts.
fn all(parts: &[Of], schemas: &mut Schemas) -> Value {
    json!({ "allOf": parts.iter().map(|part| part(schemas)).collect::<Vec<_>>() })
}

fn asks(
    path: &'static str,
    handler: MethodRouter<Arc<App>>,
    summary: &'static str,
    answers: Answers,
) -> Route {
    Route { path, method: "get", handler, summary, body: None, answers }
}

fn gives(
    path: &'static str,
    handler: MethodRouter<Arc<App>>,
    summary: &'static str,
    body: Of,
    answers: Answers,
) -> Route {
    Route { path, method: "post", handler, summary, body: Some(body), answers }
}

/// Every route.
pub fn routes() -> Vec<Route> {
    use Answers::{Events, Json, Text};
    let html = "text/html";
    let numbers = "application/openmetrics-text";
    let chat: Of =
        |s| all(&[of::<Generate>, of::<FormatRequest>, of::<ConversationRequest>, of::<ChatRequest>], s);
    let chats = || Events { whole: of::<ChatCompletion>, event: Some(of::<ChatChunk>) };
    let completion: Of = |s| all(&[of::<Generate>, of::<FormatRequest>, of::<CompletionRequest>], s);
    let completions = || Events { whole: of::<CompletionTold>, event: Some(of::<CompletionTold>) };
    let response: Of = |s| all(&[of::<Generate>, of::<ResponsesRequest>], s);
    let message: Of = |s| all(&[of::<Generate>, of::<MessagesRequest>, of::<MessagesAnswer>], s);
    let health = "Whether the model is there";
    let models = "The model that is served";
    let chat_summary = "Answers a conversation";
    let vectors = "Vectors of texts, where the server was started with --embeddings";
    let completion_summary = "Continues texts or tokens";
    vec![
        asks("/", get(page::page), "A page to chat in", Text(html)),
        asks("/health", get(info::health), health, Json(of::<info::Health>)),
        asks("/v1/health", get(info::health), health, Json(of::<info::Health>)),
        asks("/ready", get(info::ready), "Whether another request is taken", Json(of::<info::Readiness>)),
        asks("/metrics", get(info::metrics), "Numbers for Prometheus", Text(numbers)),
        asks("/props", get(info::props), "Properties of the model and its server", Json(of::<info::Props>)),
        asks("/openapi.json", get(openapi::answer), "This document", Json(|_| json!({ "type": "object" }))),
        asks("/models", get(info::models), models, Json(of::<info::Models>)),
        asks("/v1/models", get(info::models), models, Json(of::<info::Models>)),
        asks("/v1/models/{*name}", get(info::model), "The model of this name", Json(of::<info::Model>)),
        gives(
            "/tokenize",
            post(text::tokenize),
            "Tokens of a text",
            of::<text::TokenizeRequest>,
            Json(of::<text::Tokens>),
        ),
        gives(
            "/detokenize",
            post(text::detokenize),
            "The text of tokens",
            of::<text::DetokenizeRequest>,
            Json(of::<text::Text>),
        ),
        gives(
            "/apply-template",
            post(text::apply_template),
            "What the chat template makes of a conversation",
            of::<ConversationRequest>,
            Json(of::<text::RenderedPrompt>),
        ),
        gives("/chat/completions", post(answer::<Chat>), chat_summary, chat, chats()),
        gives("/v1/chat/completions", post(answer::<Chat>), chat_summary, chat, chats()),
        gives("/completions", post(answer::<Completion>), completion_summary, completion, completions()),
        gives("/v1/completions", post(answer::<Completion>), completion_summary, completion, completions()),
        gives(
            "/embeddings",
            post(embeddings::embeddings),
            vectors,
            of::<EmbeddingsRequest>,
            Json(of::<Embeddings>),
        ),
        gives(
            "/v1/embeddings",
            post(embeddings::embeddings),
            vectors,
            of::<EmbeddingsRequest>,
            Json(of::<Embeddings>),
        ),
        gives(
            "/v1/responses",
            post(answer::<responses::Answer>),
            "Answers a conversation, in OpenAI's later form",
            response,
            Events { whole: of::<ResponseTold>, event: None },
        ),
        gives(
            "/v1/messages",
            post(answer::<messages::Answer>),
            "Answers a conversation, in Anthropic's form",
            message,
            Events { whole: of::<MessageTold>, event: None },
        ),
        gives(
            "/v1/messages/count_tokens",
            post(messages::count_tokens),
            "Counts the tokens of a conversation",
            of::<MessagesRequest>,
            Json(of::<TokenCount>),
        ),
    ]
}
