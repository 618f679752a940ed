//! What a worker is handed, and what it tells of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Pooling;
use crate::cancel::Cancel;
use crate::error::Error;
use crate::logprobs::Logprobs;
use crate::sampler::Sampling;
use crate::scheduler::Finish;

/// A request, and who is told of it.
pub struct Job {
    /// The whole prompt.
    pub tokens: Vec<u32>,
    /// What is wanted of it.
    pub wants: Wants,
    /// How the following tokens are chosen.
    pub sampling: Sampling,
    /// How many are wanted at most; as many as fit where there is no number.
    pub limit: Option<usize>,
    /// The tokens at which it ends.
    pub ends: Arc<BTreeSet<u32>>,
    /// Raised by whoever does not want it any more: its slot is free within a step.
    pub cancel: Cancel,
    /// Told of everything, on the worker's thread; it should be quick.
    pub sink: Sink,
}

/// What is wanted of a prompt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wants {
    /// The tokens that follow it.
    #[default]
    Tokens,
    /// One vector of what the graph ends with for each of its tokens.
    Vector {
        /// How it is made.
        pooling: Pooling,
        /// Numbers of a row.
        width: usize,
    },
}

/// Takes what becomes of a job.
pub type Sink = Box<dyn FnMut(Update) + Send>;

/// What becomes of a job. The last is [`Update::Finished`] or [`Update::Failed`], unless the job was cancelled.
#[derive(Clone, Debug)]
pub enum Update {
    /// It has a slot; so many tokens of its prompt were computed before.
    Begun {
        /// Tokens at the beginning of the prompt.
        cached: usize,
    },
    /// The next token.
    Token {
        /// Its id.
        id: u32,
        /// How likely it was, where that was asked for.
        logprobs: Option<Logprobs>,
    },
    /// The vector of the prompt, of length 1.
    Vector(Vec<f32>),
    /// No more comes. [`Finish::Stopped`] is an end token, which is not handed out.
    Finished(Finish),
    /// It cannot be computed.
    Failed(Error),
}

/// Why a job was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// As many are computed and waiting as there is room for.
    Full,
    /// The worker has ended, or ends.
    Ended,
}
