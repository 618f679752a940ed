//! How to generate: the fields that completions and chats share.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher};

use serde::Deserialize;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use super::Settings;
use super::failure::Failure;
use super::fields::Fields;
use crate::sampler::Sampling;

/// How to generate.
#[derive(Clone, Debug)]
pub struct Params {
    pub sampling: Sampling,
    /// Tokens at most.
    pub limit: Option<usize>,
    pub stops: Vec<String>,
    /// End tokens never come.
    pub endless: bool,
    /// Answers to each prompt.
    pub choices: usize,
    pub stream: bool,
    /// A last event tells what was used.
    pub include_usage: bool,
}

/// The fields of sampling and of endings.
#[derive(Deserialize, ToSchema)]
pub struct Generate {
    /// 0 takes the likeliest token.
    #[schema(minimum = 0, maximum = 100)]
    temperature: Option<f32>,
    /// Choose among the likeliest tokens that have this share of the probability together.
    #[schema(minimum = 0, maximum = 1)]
    top_p: Option<f32>,
    /// Choose among tokens of this probability at least, in terms of the likeliest.
    #[schema(minimum = 0, maximum = 1)]
    min_p: Option<f32>,
    /// Choose among this many of the likeliest tokens; 0 and -1 are all.
    #[schema(minimum = -1, maximum = 2147483647)]
    top_k: Option<i64>,
    /// Makes recent tokens less likely by this factor.
    #[schema(minimum = 0.001, maximum = 1000)]
    repeat_penalty: Option<f32>,
    /// The same under another name.
    #[schema(minimum = 0.001, maximum = 1000)]
    repetition_penalty: Option<f32>,
    /// How many tokens are recent; -1 is all of them.
    #[schema(minimum = -1, maximum = 2147483647)]
    repeat_last_n: Option<i64>,
    /// Taken from the logits of tokens that the answer has already.
    #[schema(minimum = -2, maximum = 2)]
    presence_penalty: Option<f32>,
    /// The same for each time that it has them.
    #[schema(minimum = -2, maximum = 2)]
    frequency_penalty: Option<f32>,
    /// The same seed gives the same answer on the same device; -1 takes a random one.
    seed: Option<i64>,
    /// Ids of tokens, and what is added to their logits.
    logit_bias: Option<BTreeMap<String, Bias>>,
    /// The answer ends in front of these.
    stop: Option<Stops>,
    /// End tokens never come, so that the answer goes on to its limit.
    ignore_eos: Option<bool>,
    /// Answers to each prompt.
    #[schema(minimum = 1, maximum = 128)]
    n: Option<usize>,
    /// Sends the answer as events while it is made.
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
}

/// What is added to a logit.
#[derive(Deserialize)]
struct Bias(f32);

impl ToSchema for Bias {}

impl PartialSchema for Bias {
    fn schema() -> RefOr<Schema> {
        number(Type::Number, -100, 100)
    }
}

/// A stop string, or several.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
enum Stops {
    One(String),
    Many(StopList),
}

/// Stop strings.
#[derive(Deserialize)]
struct StopList(Vec<String>);

impl ToSchema for StopList {}

impl PartialSchema for StopList {
    fn schema() -> RefOr<Schema> {
        ArrayBuilder::new().items(String::schema()).max_items(Some(16)).into()
    }
}

/// How to stream.
#[derive(Deserialize, ToSchema)]
struct StreamOptions {
    /// A last event tells what was used.
    include_usage: Option<bool>,
}

/// The most tokens that are wanted; -1 is as many as fit.
#[derive(Clone, Copy, Deserialize)]
pub struct Limit(i64);

impl ToSchema for Limit {}

impl PartialSchema for Limit {
    fn schema() -> RefOr<Schema> {
        number(Type::Integer, -1, i32::MAX)
    }
}

fn number(kind: Type, least: i32, most: i32) -> RefOr<Schema> {
    ObjectBuilder::new().schema_type(kind).minimum(Some(least)).maximum(Some(most)).into()
}

impl Params {
    /// Reads the fields, but those of limits and of logarithms of probabilities, which differ. `settings` say what holds where
    /// nothing is said.
    pub fn read(fields: &mut Fields, settings: &Settings) -> Result<Params, Failure> {
        let asked: Generate = fields.take()?;
        let mut sampling = settings.sampling.clone();
        let set = |to: &mut f32, number: Option<f32>| *to = number.unwrap_or(*to);
        set(&mut sampling.temperature, asked.temperature);
        set(&mut sampling.top_p, asked.top_p);
        set(&mut sampling.min_p, asked.min_p);
        set(&mut sampling.repeat_penalty, asked.repetition_penalty.or(asked.repeat_penalty));
        set(&mut sampling.presence_penalty, asked.presence_penalty);
        set(&mut sampling.frequency_penalty, asked.frequency_penalty);
        if let Some(k) = asked.top_k {
            sampling.top_k = k.max(0) as u32;
        }
        if let Some(n) = asked.repeat_last_n {
            sampling.repeat_last_n = u32::try_from(n).unwrap_or(u32::MAX);
        }
        let seed = asked.seed.filter(|&seed| seed != -1).map(|seed| seed as u64);
        sampling.seed = seed.or(settings.seed).unwrap_or_else(random);
        sampling.bias = bias(asked.logit_bias.unwrap_or_default())?;
        let stream = asked.stream.unwrap_or(false);
        if asked.stream_options.is_some() && !stream {
            return Err(Failure::field("stream_options", "is only for 'stream': true"));
        }
        let stops = match asked.stop {
            None => Vec::new(),
            Some(Stops::One(text)) => vec![text],
            Some(Stops::Many(StopList(texts))) => texts,
        };
        Ok(Params {
            sampling,
            limit: None,
            stops,
            endless: asked.ignore_eos.unwrap_or(false),
            choices: asked.n.unwrap_or(1),
            stream,
            include_usage: asked.stream_options.and_then(|o| o.include_usage).unwrap_or(false),
        })
    }

    /// Wants as many tokens as the first of these says, each with its name.
    pub fn set_limit<const N: usize>(&mut self, limits: [(&str, Option<Limit>); N]) -> Result<(), Failure> {
        for (name, limit) in limits {
            match limit {
                Some(Limit(0)) => return Err(Failure::field(name, "is 0, expected 1 at least")),
                Some(Limit(n)) => self.limit = self.limit.or(usize::try_from(n).ok()),
                None => {}
            }
        }
        Ok(())
    }
}

/// `logit_bias`: ids of tokens, and what is added to their logits.
fn bias(asked: BTreeMap<String, Bias>) -> Result<Vec<(u32, f32)>, Failure> {
    let entry = |(key, Bias(bias)): (String, Bias)| match key.parse() {
        Ok(id) => Ok((id, bias)),
        Err(_) => Err(Failure::field(format!("logit_bias.{key}"), "is no token id")),
    };
    asked.into_iter().map(entry).collect()
}

/// A number that nobody can foresee.
pub fn random() -> u64 {
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}

/// A name that no other thing has: `prefix` and letters and digits.
pub fn fresh_id(prefix: &str, length: usize) -> String {
    const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    let mut id = String::from(prefix);
    let (mut left, mut number) = (0, 0);
    for _ in 0..length {
        if left == 0 {
            (left, number) = (10, random());
        }
        id.push(LETTERS[(number % LETTERS.len() as u64) as usize].into());
        (left, number) = (left - 1, number / LETTERS.len() as u64);
    }
    id
}
