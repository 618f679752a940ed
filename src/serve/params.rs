//! How to generate: the fields that completions and chats share.

use std::hash::{BuildHasher, Hasher};

use serde_json::Value;

use super::failure::Failure;
use super::fields::{Fields, wrong};
use crate::sampler::Sampling;

/// Stop strings, choices and likely tokens of a request at most.
const MOST_STOPS: usize = 16;
const MOST_CHOICES: i64 = 128;
const MOST_LOGPROBS: i64 = 20;

/// How to generate.
#[derive(Clone, Debug)]
pub struct Params {
    pub sampling: Sampling,
    /// Tokens at most.
    pub limit: Option<usize>,
    pub stops: Vec<String>,
    /// Answers to each prompt.
    pub choices: usize,
    pub stream: bool,
    /// A last event tells what was used.
    pub include_usage: bool,
}

impl Params {
    /// Reads the fields, but those of logarithms of probabilities, which differ. `sampling` is what holds where nothing is said.
    pub fn read(fields: &mut Fields, sampling: &Sampling, limits: &[&str]) -> Result<Params, Failure> {
        let mut sampling = sampling.clone();
        let mut set = |to: &mut f32, names: &[&str], from: f64, most: f64| -> Result<(), Failure> {
            for name in names {
                if let Some(number) = fields.number(name, from..=most)? {
                    *to = number;
                }
            }
            Ok(())
        };
        set(&mut sampling.temperature, &["temperature"], 0.0, 100.0)?;
        set(&mut sampling.top_p, &["top_p"], 0.0, 1.0)?;
        set(&mut sampling.min_p, &["min_p"], 0.0, 1.0)?;
        set(&mut sampling.repeat_penalty, &["repetition_penalty", "repeat_penalty"], 0.001, 1000.0)?;
        set(&mut sampling.presence_penalty, &["presence_penalty"], -2.0, 2.0)?;
        set(&mut sampling.frequency_penalty, &["frequency_penalty"], -2.0, 2.0)?;
        if let Some(k) = fields.whole("top_k", -1..=u32::MAX.into())? {
            sampling.top_k = k.max(0) as u32;
        }
        if let Some(n) = fields.whole("repeat_last_n", -1..=i32::MAX.into())? {
            sampling.repeat_last_n = u32::try_from(n).unwrap_or(u32::MAX);
        }
        let seed = fields.whole("seed", i64::MIN..=i64::MAX)?;
        sampling.seed = seed.filter(|&seed| seed != -1).map_or_else(random, |seed| seed as u64);
        sampling.bias = bias(fields)?;

        let mut limit = None;
        for name in limits {
            let wanted = fields.whole(name, -1..=i32::MAX.into())?;
            match wanted {
                Some(0) => return Err(Failure::field(*name, "is 0, expected 1 at least")),
                Some(n) => limit = limit.or(usize::try_from(n).ok()),
                None => {}
            }
        }
        let stops = fields.texts("stop", MOST_STOPS)?;
        let choices = fields.whole("n", 1..=MOST_CHOICES)?.unwrap_or(1) as usize;
        let stream = fields.flag("stream")?.unwrap_or(false);
        let include_usage = match fields.any("stream_options") {
            None => false,
            Some(_) if !stream => return Err(Failure::field("stream_options", "is only for 'stream': true")),
            Some(options) => Fields::of("stream_options", options)?.flag("include_usage")?.unwrap_or(false),
        };
        Ok(Params { sampling, limit, stops, choices, stream, include_usage })
    }

    /// Asks for log probabilities with `top` likely tokens.
    pub fn set_logprobs(&mut self, name: &str, top: i64) -> Result<(), Failure> {
        if !(0..=MOST_LOGPROBS).contains(&top) {
            return Err(Failure::field(name, format!("is {top}, expected 0 to {MOST_LOGPROBS}")));
        }
        self.sampling.logprobs = Some(top as u32);
        Ok(())
    }
}

/// `logit_bias`: ids of tokens, and what is added to their logits.
fn bias(fields: &mut Fields) -> Result<Vec<(u32, f32)>, Failure> {
    let entry = |(key, value): (String, Value)| {
        let name = format!("logit_bias.{key}");
        let id = key.parse().map_err(|_| Failure::field(name.as_str(), "is no token id"))?;
        let Some(bias) = value.as_f64() else { return Err(wrong(&name, "a number", &value)) };
        if !(-100.0..=100.0).contains(&bias) {
            return Err(Failure::field(name, format!("is {bias}, expected -100 to 100")));
        }
        Ok((id, bias as f32))
    };
    fields.object("logit_bias")?.unwrap_or_default().into_iter().map(entry).collect()
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
