//! `POST /v1/embeddings`: one vector for each text, of a server that computes nothing else.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::App;
use super::failure::{Failure, json_response};
use super::generation::Usage;
use super::jobs::{Jobs, Order};
use super::source::Input;
use crate::sampler::Sampling;
use crate::worker::{Update, Wants};

#[derive(Deserialize, ToSchema)]
pub struct EmbeddingsRequest {
    input: Input,
    encoding_format: Option<Encoding>,
    /// As many as the model has: there are no shorter vectors.
    #[schema(minimum = 1)]
    dimensions: Option<usize>,
}

#[derive(Clone, Copy, Deserialize, PartialEq, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Encoding {
    Float,
    /// f32, the least byte first.
    Base64,
}

#[derive(Serialize, ToSchema)]
pub struct Embeddings {
    /// `list`.
    object: &'static str,
    data: Vec<Embedding>,
    model: String,
    usage: EmbeddingsUsage,
}

#[derive(Serialize, ToSchema)]
struct Embedding {
    /// `embedding`.
    object: &'static str,
    index: usize,
    embedding: Vector,
}

/// A vector of length 1: numbers, or their bytes in base64.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
enum Vector {
    Float(Vec<f32>),
    Base64(String),
}

#[derive(Serialize, ToSchema)]
struct EmbeddingsUsage {
    prompt_tokens: usize,
    total_tokens: usize,
}

/// Answers with the vectors of texts.
pub async fn embeddings(State(app): State<Arc<App>>, request: Request) -> Result<Response<Body>, Failure> {
    let served = app.served()?;
    let (entry, mut fields) = app.fields(request).await?;
    let Some(pooling) = app.settings.embeddings else {
        return Err(Failure::request(
            "this server computes answers: start one with --embeddings for embeddings",
        ));
    };
    let given: EmbeddingsRequest = fields.take()?;
    if given.dimensions.is_some_and(|n| n != served.width) {
        let what = format!("is not supported, unless it is the model's own, {}", served.width);
        return Err(Failure::unsupported("dimensions", what));
    }
    let sources = given.input.sources("input", served.tokenizer.vocab_size())?;
    let of = served.clone();
    let encode = move || sources.into_iter().map(|(name, source)| source.encode(&name, &of)).collect();
    let encoded: Vec<(Vec<u32>, String)> = app.compute(encode).await?;
    if let Some((tokens, _)) = encoded.iter().find(|(tokens, _)| tokens.len() > served.context) {
        return Err(Failure::too_long(tokens.len(), served.context));
    }
    if app.settings.log_prompts {
        entry.prompt(encoded.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>().join("\n"));
    }
    let capacity = app.worker.capacity();
    let most = capacity.running + capacity.waiting;
    if encoded.len() > most {
        let what = format!("has {} texts, and {most} are the most that wait", encoded.len());
        return Err(Failure::field("input", what));
    }
    let prompt_tokens = encoded.iter().map(|(tokens, _)| tokens.len()).sum();
    let wants = Wants::Vector { pooling, width: served.width };
    let order = |(tokens, _)| Order { tokens, wants, sampling: Sampling::greedy(), limit: Some(0) };
    let (mut vectors, mut left) = (vec![Vec::new(); encoded.len()], encoded.len());
    let mut jobs = Jobs::submit(&app, &served, encoded.into_iter().map(order))?;
    entry.used(&Usage { prompt: prompt_tokens, ..Usage::default() });
    while left > 0 {
        match jobs.receive().await? {
            (index, Update::Vector(vector)) => vectors[index] = vector,
            (_, Update::Finished(_)) => left -= 1,
            (_, Update::Failed(error)) => return Err(error.into()),
            _ => {}
        }
    }
    let vector = |vector: Vec<f32>| match given.encoding_format {
        Some(Encoding::Base64) => {
            let bytes: Vec<u8> = vector.into_iter().flat_map(f32::to_le_bytes).collect();
            Vector::Base64(BASE64_STANDARD.encode(bytes))
        }
        _ => Vector::Float(vector),
    };
    let data = vectors.into_iter().map(vector).enumerate();
    let data = data.map(|(index, embedding)| Embedding { object: "embedding", index, embedding });
    Ok(json_response(
        StatusCode::OK,
        &Embeddings {
            object: "list",
            data: data.collect(),
            model: served.name.clone(),
            usage: EmbeddingsUsage { prompt_tokens, total_tokens: prompt_tokens },
        },
    ))
}
