//! How tokens are chosen, as data: what whoever asks may set, within which bounds, and how a device is told.

use crate::constraint::Constraint;
use crate::error::{Error, Result};

/// Temperatures below this one take the most likely token, so that no infinity arises on the GPU.
const LEAST_TEMPERATURE: f32 = 1e-6;

/// How tokens are chosen.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Sampling {
    /// 0 takes the most likely token.
    pub temperature: f32,
    /// Tokens that are kept, by rank; 0 keeps all.
    pub top_k: u32,
    /// The least share of the probability that is kept; 1 keeps all.
    pub top_p: f32,
    /// The least probability kept, in terms of the largest; 0 keeps all.
    pub min_p: f32,
    /// Divides the positive logits of recent tokens and multiplies the negative ones; 1 changes nothing.
    pub repeat_penalty: f32,
    /// How many tokens are recent.
    pub repeat_last_n: u32,
    /// The seed of the noise.
    pub seed: u64,
    /// Tokens that are never chosen, as with a logit of -infinity, [`Sampling::BANNED`] at most; ids beyond the vocabulary change nothing.
    pub banned: Vec<u32>,
    /// What is added to the logits of tokens; ids beyond the vocabulary change nothing.
    pub bias: Vec<(u32, f32)>,
    /// Taken off the logit of each token that was generated.
    pub presence_penalty: f32,
    /// Taken off it for each time that it was generated.
    pub frequency_penalty: f32,
    /// How many log probabilities come with each token, besides its own; none where there is no number.
    pub logprobs: Option<u32>,
    /// What the tokens that are generated must keep to, from the first on. Whoever samples is given masks of it.
    #[serde(skip)]
    pub constraint: Option<Constraint>,
}

impl Default for Sampling {
    fn default() -> Sampling {
        Sampling {
            temperature: 0.8,
            top_k: 40,
            top_p: 0.95,
            min_p: 0.05,
            repeat_penalty: 1.0,
            repeat_last_n: 64,
            seed: 0,
            banned: Vec::new(),
            bias: Vec::new(),
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            logprobs: None,
            constraint: None,
        }
    }
}

impl Sampling {
    /// Banned tokens at most: a device has room for as many of each slot.
    pub const BANNED: usize = 31;

    /// The most likely token, always.
    pub fn greedy() -> Sampling {
        Sampling { temperature: 0.0, ..Sampling::default() }
    }

    /// Whether the most likely token is taken.
    pub fn is_greedy(&self) -> bool {
        self.temperature < LEAST_TEMPERATURE
    }

    /// Whether recent tokens change anything.
    pub fn penalizes(&self) -> bool {
        self.repeat_penalty != 1.0 && self.repeat_last_n > 0
    }

    /// Whether logits must come to the host: for what no device's sampler does.
    pub fn is_for_host(&self) -> bool {
        self.logprobs.is_some() || self.adjusts()
    }

    /// Whether logits are changed before everything else.
    pub(super) fn adjusts(&self) -> bool {
        !self.bias.is_empty() || self.presence_penalty != 0.0 || self.frequency_penalty != 0.0
    }

    /// An error where a number is outside its range.
    pub fn check(&self) -> Result<()> {
        let number = |name: &str, value: f32, good: bool, range: &str| match good {
            true => Ok(()),
            false => Err(Error::Usage(format!("{name} is {value}, expected {range}"))),
        };
        let share = |v: f32| (0.0..=1.0).contains(&v);
        number("temperature", self.temperature, (0.0..=1e6).contains(&self.temperature), "0 to 1e6")?;
        number("top-p", self.top_p, share(self.top_p), "0 to 1")?;
        number("min-p", self.min_p, share(self.min_p), "0 to 1")?;
        for (name, value) in
            [("presence penalty", self.presence_penalty), ("frequency penalty", self.frequency_penalty)]
        {
            number(name, value, (-100.0..=100.0).contains(&value), "-100 to 100; 0 changes nothing")?;
        }
        if let Some((token, bias)) = self.bias.iter().find(|(_, bias)| bias.is_nan()) {
            return Err(Error::Usage(format!("the bias of token {token} is {bias}, expected a number")));
        }
        if self.banned.len() > Self::BANNED {
            let (count, most) = (self.banned.len(), Self::BANNED);
            return Err(Error::Usage(format!(
                "{count} tokens are never to be chosen, and {most} are the most"
            )));
        }
        let penalty = self.repeat_penalty;
        number("repeat penalty", penalty, (1e-3..=1e3).contains(&penalty), "0.001 to 1000; 1 changes nothing")
    }

    /// The words of the GPU's `sampling` buffer: temperature, top-k, top-p, min-p, penalty, last n, seed (low word first).
    pub fn words(&self) -> [u32; 8] {
        [
            self.temperature.to_bits(),
            self.top_k,
            self.top_p.to_bits(),
            self.min_p.to_bits(),
            self.repeat_penalty.to_bits(),
            self.repeat_last_n,
            self.seed as u32,
            (self.seed >> 32) as u32,
        ]
    }
}
