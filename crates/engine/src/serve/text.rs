//! Text to tokens and back, and what a template makes of a conversation: `/tokenize`, `/detokenize`, `/apply-template`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::App;
use super::conversation;
use super::failure::{Failure, json_response};
use super::source::known_ids;
use crate::tokenizer::Encode;

type Answer = Result<Response<Body>, Failure>;

#[derive(Deserialize, ToSchema)]
pub struct TokenizeRequest {
    content: Option<String>,
    /// Puts the token in front that begins texts.
    add_special: Option<bool>,
    /// Reads names of special tokens as these; that is the default.
    parse_special: Option<bool>,
    /// Tells the text of each token, too.
    with_pieces: Option<bool>,
}

#[derive(Serialize, ToSchema)]
pub struct Tokens {
    tokens: Vec<TokenOrPiece>,
}

#[derive(Serialize, ToSchema)]
#[serde(untagged)]
enum TokenOrPiece {
    Token(u32),
    Piece { id: u32, piece: Piece },
}

/// A text, or bytes that are none.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
enum Piece {
    Text(String),
    Bytes(Vec<u8>),
}

/// `POST /tokenize`.
pub async fn tokenize(State(app): State<Arc<App>>, request: Request) -> Answer {
    let served = app.served()?;
    let given: TokenizeRequest = app.fields(request).await?.1.take()?;
    let how =
        Encode { bos: given.add_special.unwrap_or(false), special: given.parse_special.unwrap_or(true) };
    let pieces = given.with_pieces.unwrap_or(false);
    let body = app
        .compute(move || {
            let ids = served.tokenizer.encode(&given.content.unwrap_or_default(), how)?;
            let token = |id: u32| {
                if !pieces {
                    return TokenOrPiece::Token(id);
                }
                let piece = String::from_utf8(served.token_text(id).1);
                let piece = piece.map_or_else(|e| Piece::Bytes(e.into_bytes()), Piece::Text);
                TokenOrPiece::Piece { id, piece }
            };
            Ok(Tokens { tokens: ids.into_iter().map(token).collect() })
        })
        .await?;
    Ok(json_response(StatusCode::OK, &body))
}

#[derive(Deserialize, ToSchema)]
pub struct DetokenizeRequest {
    tokens: Option<Vec<u32>>,
}

#[derive(Serialize, ToSchema)]
pub struct Text {
    content: String,
}

/// `POST /detokenize`.
pub async fn detokenize(State(app): State<Arc<App>>, request: Request) -> Answer {
    let served = app.served()?;
    let given: DetokenizeRequest = app.fields(request).await?.1.take()?;
    let ids = given.tokens.unwrap_or_default();
    known_ids("tokens", &ids, served.tokenizer.vocab_size())?;
    Ok(json_response(StatusCode::OK, &Text { content: served.tokenizer.decode(&ids) }))
}

#[derive(Serialize, ToSchema)]
pub struct RenderedPrompt {
    prompt: String,
}

/// `POST /apply-template`.
pub async fn apply_template(State(app): State<Arc<App>>, request: Request) -> Answer {
    let served = app.served()?;
    let mut fields = app.fields(request).await?.1;
    let asked = conversation::read(&mut fields, &served)?;
    let prompt = app.compute(move || Ok(asked.render(&served)?.text())).await?;
    Ok(json_response(StatusCode::OK, &RenderedPrompt { prompt }))
}
