//! Text to tokens and back, and what a template makes of a conversation: `/tokenize`, `/detokenize`, `/apply-template`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode};
use serde_json::{Value, json};

use super::App;
use super::conversation;
use super::failure::{Failure, json_response};
use super::fields::wrong;
use crate::tokenizer::Encode;

type Answer = Result<Response<Body>, Failure>;

/// `POST /tokenize`.
pub async fn tokenize(State(app): State<Arc<App>>, request: Request) -> Answer {
    let served = app.served()?;
    let mut fields = app.fields(request).await?.1;
    let text = fields.text("content")?.unwrap_or_default();
    let how = Encode {
        bos: fields.flag("add_special")?.unwrap_or(false),
        special: fields.flag("parse_special")?.unwrap_or(true),
    };
    let pieces = fields.flag("with_pieces")?.unwrap_or(false);
    let body = app
        .compute(move || {
            let ids = served.tokenizer.encode(&text, how)?;
            let piece = |id: u32| {
                let (_, bytes) = served.token_text(id);
                let piece = String::from_utf8(bytes).map_or_else(|e| json!(e.into_bytes()), Value::String);
                json!({ "id": id, "piece": piece })
            };
            let tokens = match pieces {
                true => ids.into_iter().map(piece).collect(),
                false => json!(ids),
            };
            Ok(json!({ "tokens": tokens }))
        })
        .await?;
    Ok(json_response(StatusCode::OK, &body))
}

/// `POST /detokenize`.
pub async fn detokenize(State(app): State<Arc<App>>, request: Request) -> Answer {
    let served = app.served()?;
    let mut fields = app.fields(request).await?.1;
    let vocab = served.tokenizer.vocab_size();
    let ids = token_ids("tokens", fields.list("tokens")?.unwrap_or_default(), vocab)?;
    Ok(json_response(StatusCode::OK, &json!({ "content": served.tokenizer.decode(&ids) })))
}

/// `POST /apply-template`.
pub async fn apply_template(State(app): State<Arc<App>>, request: Request) -> Answer {
    let served = app.served()?;
    let mut fields = app.fields(request).await?.1;
    let asked = conversation::read(&mut fields, &served)?;
    let prompt = app.compute(move || Ok(asked.render(&served)?.text())).await?;
    Ok(json_response(StatusCode::OK, &json!({ "prompt": prompt })))
}

/// Ids of tokens out of a list.
pub fn token_ids(name: &str, items: Vec<Value>, vocab: usize) -> Result<Vec<u32>, Failure> {
    let id = |(i, item): (usize, Value)| {
        let name = format!("{name}[{i}]");
        let id = item.as_u64().ok_or_else(|| wrong(&name, "a token id", &item))?;
        let known = u32::try_from(id).ok().filter(|&id| (id as usize) < vocab);
        known.ok_or_else(|| Failure::field(name, format!("is {id}, and the vocabulary has {vocab} tokens")))
    };
    items.into_iter().enumerate().map(id).collect()
}
