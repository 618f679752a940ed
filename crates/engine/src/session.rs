//! One sequence that has a backend to itself: a handle on a slot of its scheduler.

use std::ops::ControlFlow;
use std::time::Instant;

use crate::backend::{Backend, RuntimeConfig};
use crate::blocking::block_on;
use crate::cancel::Cancel;
use crate::error::Result;
use crate::lookup::Drafts;
use crate::sampler::{Sampling, no_token};
use crate::scheduler::{Event, Request, Scheduler};

pub use crate::scheduler::Finish;

/// What a generation took.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Timings {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// How many of them were computed before, for an earlier prompt.
    pub cached_tokens: usize,
    /// From the call to the first token, in ms.
    pub ttft_ms: f64,
    /// Tokens that were handed out.
    pub tokens: usize,
    /// From the first token to the last, in ms.
    pub decode_ms: f64,
    /// What came of drafts, where there were any.
    pub drafts: Drafts,
}

impl Timings {
    /// Prompt tokens per second, of those that were computed.
    pub fn prefill_tps(&self) -> f64 {
        let computed = self.prompt_tokens - self.cached_tokens;
        if self.ttft_ms > 0.0 { computed as f64 / self.ttft_ms * 1e3 } else { 0.0 }
    }

    /// This generation and another that went on with it: the prompt is the first one's.
    pub fn and_then(self, next: &Timings) -> Timings {
        Timings {
            tokens: self.tokens + next.tokens,
            decode_ms: self.decode_ms + next.ttft_ms + next.decode_ms,
            drafts: self.drafts + next.drafts,
            ..self
        }
    }

    /// Tokens per second after the first.
    pub fn decode_tps(&self) -> f64 {
        if self.decode_ms > 0.0 { self.tokens.saturating_sub(1) as f64 / self.decode_ms * 1e3 } else { 0.0 }
    }

    /// Microseconds of a token after the first, if there was one.
    pub fn us_per_token(&self) -> Option<f64> {
        (self.tokens > 1).then(|| self.decode_ms * 1e3 / (self.tokens - 1) as f64)
    }
}

/// A sequence in a slot of its own.
pub struct Session<'a> {
    scheduler: Scheduler<'a>,
    slot: u32,
    context: usize,
    cancel: Cancel,
}

impl<'a> Session<'a> {
    /// An empty sequence over a vocabulary of `vocab` tokens; `config` is what the backend was made for.
    pub fn new(backend: &'a mut dyn Backend, config: RuntimeConfig, vocab: usize) -> Session<'a> {
        let mut scheduler = Scheduler::new(backend, config, vocab);
        let slot = scheduler.open().unwrap_or_default();
        Session { scheduler, slot, context: config.context, cancel: Cancel::new() }
    }

    /// Looks at `cancel` from now on: once it is raised, a generation ends behind the batch that is under way, a long prompt's too, with
    /// [`Finish::Stopped`]. What is computed by then stays.
    pub fn watch(&mut self, cancel: Cancel) {
        self.cancel = cancel;
    }

    /// Drafts up to `most` tokens at once from now on: see [`Scheduler::look_up`].
    pub fn look_up(&mut self, most: usize) -> Result<()> {
        self.scheduler.look_up(most)
    }

    /// Positions that there are.
    pub fn context(&self) -> usize {
        self.context
    }

    /// How many tokens of the sequence are computed.
    pub fn computed(&self) -> usize {
        self.scheduler.computed(self.slot)
    }

    /// Forgets the sequence.
    pub fn clear(&mut self) {
        self.truncate(0);
    }

    /// Forgets all but the first `len` tokens. The result is how many of them the memory holds; the others are computed again in front of
    /// what comes next, see [`Scheduler::truncate`].
    pub fn truncate(&mut self, len: usize) -> usize {
        self.scheduler.truncate(self.slot, len)
    }

    /// Takes a snapshot of layers' states where they stand, to which [`Session::truncate`] can go back: see [`Scheduler::snapshot`].
    pub fn snapshot(&mut self) -> Result<usize> {
        self.scheduler.snapshot(self.slot)
    }

    /// The tokens of the sequence: given, or handed out.
    pub fn tokens(&self) -> &[u32] {
        self.scheduler.tokens(self.slot)
    }

    /// The backend.
    pub fn backend(&mut self) -> &mut dyn Backend {
        self.scheduler.backend()
    }

    /// Appends `tokens` and returns the logits of each, row by row, through `on_rows`: `[rows][vocabulary]`.
    pub fn logits(&mut self, tokens: &[u32], on_rows: &mut dyn FnMut(&[f32])) -> Result<()> {
        self.scheduler.logits(self.slot, tokens, on_rows)
    }

    /// Appends `tokens` without asking for anything, and waits until they are computed.
    pub fn prefill(&mut self, tokens: &[u32]) -> Result<()> {
        block_on(self.run(tokens, &Sampling::greedy(), Some(0), &mut |_| ControlFlow::Continue(()))).map(drop)
    }

    /// [`Session::generate_async`], on a thread that may wait.
    pub fn generate(
        &mut self,
        prompt: &[u32],
        sampling: &Sampling,
        limit: Option<usize>,
        on_token: &mut dyn FnMut(u32) -> ControlFlow<()>,
    ) -> Result<(Finish, Timings)> {
        block_on(self.generate_async(prompt, sampling, limit, on_token))
    }

    /// Appends `prompt`, then generates up to `limit` tokens (as many as fit where there is none).
    pub async fn generate_async(
        &mut self,
        prompt: &[u32],
        sampling: &Sampling,
        limit: Option<usize>,
        on_token: &mut dyn FnMut(u32) -> ControlFlow<()>,
    ) -> Result<(Finish, Timings)> {
        let (start, drafts) = (Instant::now(), self.scheduler.drafts());
        let mut timings = Timings { prompt_tokens: prompt.len(), ..Timings::default() };
        let mut first = start;
        let mut on_timed = |token| {
            let now = Instant::now();
            if timings.tokens == 0 {
                timings.ttft_ms = (now - start).as_secs_f64() * 1e3;
                first = now;
            }
            timings.tokens += 1;
            timings.decode_ms = (now - first).as_secs_f64() * 1e3;
            on_token(token)
        };
        let finish = self.run(prompt, sampling, limit, &mut on_timed).await?;
        if timings.tokens == 0 {
            timings.ttft_ms = start.elapsed().as_secs_f64() * 1e3;
        }
        timings.drafts = self.scheduler.drafts() - drafts;
        Ok((finish, timings))
    }

    /// Makes the sequence `prompt`, of which only what is not there yet is computed, and goes on as [`Session::generate`].
    pub fn answer(
        &mut self,
        prompt: &[u32],
        sampling: &Sampling,
        limit: Option<usize>,
        on_token: &mut dyn FnMut(u32) -> ControlFlow<()>,
    ) -> Result<(Finish, Timings)> {
        let kept = self.scheduler.keep_common(self.slot, prompt);
        let cached_tokens = self.computed();
        let (finish, timings) = self.generate(&prompt[kept..], sampling, limit, on_token)?;
        Ok((finish, Timings { prompt_tokens: prompt.len(), cached_tokens, ..timings }))
    }

    async fn run(
        &mut self,
        tokens: &[u32],
        sampling: &Sampling,
        limit: Option<usize>,
        on_token: &mut dyn FnMut(u32) -> ControlFlow<()>,
    ) -> Result<Finish> {
        let request = Request { tokens: tokens.to_vec(), sampling: sampling.clone(), limit };
        self.scheduler.request(self.slot, request)?;
        let mut finished = None;
        while finished.is_none() {
            if self.cancel.is_cancelled() {
                self.scheduler.stop(self.slot);
                break;
            }
            let mut on_event = |_, event| match event {
                Event::Token(token) => on_token(token).is_continue(),
                Event::Logprobs(_) => true,
                Event::Finished(finish) => {
                    finished = Some(Ok(finish));
                    true
                }
                Event::NoToken => {
                    finished = Some(Err(no_token()));
                    true
                }
                Event::Failed(error) => {
                    finished = Some(Err(error));
                    true
                }
            };
            self.scheduler.advance_async(&mut on_event).await?;
        }
        finished.unwrap_or(Ok(Finish::Stopped))
    }
}
