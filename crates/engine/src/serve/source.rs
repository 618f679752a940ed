//! What is given as a text, as tokens, or as several of either.

use serde::Deserialize;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ArrayBuilder, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::failure::Failure;
use super::served::Served;
use crate::tokenizer::Encode;

/// A text, token ids, or several of either.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
pub enum Input {
    Text(String),
    Tokens(Vec<u32>),
    Many(Inputs),
}

/// Up to 128 texts and lists of token ids.
#[derive(Deserialize)]
pub struct Inputs(Vec<Source>);

impl ToSchema for Inputs {}

impl PartialSchema for Inputs {
    fn schema() -> RefOr<Schema> {
        ArrayBuilder::new().items(Source::schema()).max_items(Some(128)).into()
    }
}

/// A text or token ids.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
pub enum Source {
    Text(String),
    Tokens(Vec<u32>),
}

impl Input {
    /// Each of them, with what an error calls it. `name` is the field's, `vocab` how many tokens there are.
    pub fn sources(self, name: &str, vocab: usize) -> Result<Vec<(String, Source)>, Failure> {
        let sources = match self {
            Input::Text(text) => vec![(name.into(), Source::Text(text))],
            Input::Tokens(ids) => vec![(name.into(), Source::Tokens(ids))],
            Input::Many(Inputs(many)) => {
                let named = |(i, source)| (format!("{name}[{i}]"), source);
                many.into_iter().enumerate().map(named).collect()
            }
        };
        sources.iter().try_for_each(|(name, source)| source.check(name, vocab))?;
        Ok(sources)
    }
}

impl Source {
    fn check(&self, name: &str, vocab: usize) -> Result<(), Failure> {
        match self {
            Source::Text(_) => Ok(()),
            Source::Tokens(ids) if ids.is_empty() => Err(Failure::field(name, "is an empty list")),
            Source::Tokens(ids) => known_ids(name, ids, vocab),
        }
    }

    /// Its tokens and its text.
    pub fn encode(self, name: &str, served: &Served) -> Result<(Vec<u32>, String), Failure> {
        let (tokens, text) = match self {
            Source::Tokens(tokens) => {
                let text = served.tokenizer.decode(&tokens);
                (tokens, text)
            }
            Source::Text(text) => {
                (served.tokenizer.encode(&text, Encode { special: false, bos: true })?, text)
            }
        };
        match tokens.is_empty() {
            true => Err(Failure::field(name, "is empty: no tokens are in it")),
            false => Ok((tokens, text)),
        }
    }
}

/// Refuses ids that no token has.
pub fn known_ids(name: &str, ids: &[u32], vocab: usize) -> Result<(), Failure> {
    match ids.iter().enumerate().find(|(_, id)| **id as usize >= vocab) {
        None => Ok(()),
        Some((i, id)) => {
            let what = format!("is {id}, and the vocabulary has {vocab} tokens");
            Err(Failure::field(format!("{name}[{i}]"), what))
        }
    }
}
