//! What a backend computes at once: rows of any sequences, and what is to become of their logits.

use crate::graph::{Row, Step};

/// A row's token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// This one.
    Token(u32),
    /// The one that was sampled last for the row's slot: known where it was sampled, maybe not yet on the host.
    LastSampled,
}

/// One token at one position of one slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchRow {
    /// The token.
    pub input: Input,
    /// Whose memory the row reads and writes.
    pub slot: u32,
    /// The token's place in that sequence, from 0.
    pub position: u32,
}

/// What becomes of the logits of a batch's output rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// They come back to the host.
    Logits,
    /// A token is sampled from each, as its slot was told to ([`crate::backend::Backend::set_slot`]). Tokens of a slot's output rows behind its
    /// first one are recent ones for these rows; a slot with several is told again before anything else is sampled for it.
    Sample,
    /// The same, once it is known which tokens may come ([`crate::backend::Backend::sample`]): of one step.
    SampleMasked,
}

/// Rows that are computed together. Rows of one slot follow each other in the order of their positions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The rows.
    pub rows: Vec<BatchRow>,
    /// Indices of the rows whose logits are wanted.
    pub outputs: Vec<u32>,
    /// What becomes of them.
    pub then: Then,
    /// How many steps: in those behind the first, each row is the token sampled from it, one position on. More than one asks for every
    /// row to be an output that is sampled, and for slots that differ.
    pub steps: u32,
}

impl Batch {
    /// The batch that computes `step` and brings its logits back.
    pub fn logits(step: &Step) -> Batch {
        let row = |r: &Row| BatchRow { input: Input::Token(r.token), slot: r.slot, position: r.position };
        Batch {
            rows: step.rows.iter().map(row).collect(),
            outputs: step.outputs.clone(),
            then: Then::Logits,
            steps: 1,
        }
    }

    /// The batch as a step, with `token` in place of what was sampled last for a slot.
    pub fn step(&self, token: impl Fn(u32) -> u32) -> Step {
        let row = |r: &BatchRow| {
            let token = match r.input {
                Input::Token(token) => token,
                Input::LastSampled => token(r.slot),
            };
            Row { token, slot: r.slot, position: r.position }
        };
        Step { rows: self.rows.iter().map(row).collect(), outputs: self.outputs.clone() }
    }
}

/// A batch that was submitted; it is collected once, and tickets are collected in the order in which they were given.
#[derive(Debug, PartialEq, Eq)]
pub struct Ticket(pub u64);

/// What a batch came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Collected {
    /// The tokens that were sampled, step after step, in the order of the outputs; [`crate::sampler::NO_TOKEN`] where every logit
    /// was NaN.
    pub tokens: Vec<u32>,
    /// The logits that were to come back, `[outputs][vocabulary]`.
    pub logits: Vec<f32>,
}
