//! A sequence on a backend: what it holds so far, prefill in chunks, generation.

use std::ops::ControlFlow;
use std::time::Instant;

use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::graph::{Row, Step};
use crate::sampler::Sampling;

/// How generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// As many tokens as were outputs for.
    Length,
    /// The context is full.
    Context,
    /// The caller broke off: an end token, a stop string, Ctrl-C.
    Stopped,
}

/// What a generation took.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Timings {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// From the call to the first token, in ms.
    pub ttft_ms: f64,
    /// Tokens that were handed out.
    pub tokens: usize,
    /// From the first token to the last, in ms.
    pub decode_ms: f64,
}

impl Timings {
    /// Prompt tokens per second.
    pub fn prefill_tps(&self) -> f64 {
        if self.ttft_ms > 0.0 { self.prompt_tokens as f64 / self.ttft_ms * 1e3 } else { 0.0 }
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

/// One sequence in slot 0 of a backend.
pub struct Session<'a> {
    backend: &'a mut dyn Backend,
    context: usize,
    vocab: usize,
    tokens: Vec<u32>,
}

impl<'a> Session<'a> {
    /// An empty sequence of at most `context` positions over a vocabulary of `vocab` tokens.
    pub fn new(backend: &'a mut dyn Backend, context: usize, vocab: usize) -> Session<'a> {
        Session { backend, context, vocab, tokens: Vec::new() }
    }

    /// Forgets the sequence.
    pub fn clear(&mut self) {
        self.tokens.clear();
    }

    /// The tokens that the KV cache holds, and those generated since.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// The backend.
    pub fn backend(&mut self) -> &mut dyn Backend {
        self.backend
    }

    /// Appends `tokens` and returns the logits of each, row by row, through `on_rows`: `[rows][vocabulary]`.
    pub fn logits(&mut self, tokens: &[u32], on_rows: &mut dyn FnMut(&[f32])) -> Result<()> {
        let limits = self.backend.limits();
        for step in self.steps(tokens, limits.rows.min(limits.outputs))? {
            let outputs = (0..step.rows.len() as u32).collect();
            on_rows(&self.backend.step(&Step { outputs, ..step })?);
        }
        self.tokens.extend(tokens);
        Ok(())
    }

    /// Appends `tokens` without asking for anything, and waits until they are computed.
    pub fn prefill(&mut self, tokens: &[u32]) -> Result<()> {
        for step in self.steps(tokens, self.backend.limits().rows)? {
            self.backend.step(&step)?;
        }
        self.backend.wait()?;
        self.tokens.extend(tokens);
        Ok(())
    }

    /// Appends `prompt`, then generates up to `limit` tokens (as many as fit where there is none).
    pub fn generate(
        &mut self,
        prompt: &[u32],
        sampling: &Sampling,
        limit: Option<usize>,
        on_token: &mut dyn FnMut(u32) -> ControlFlow<()>,
    ) -> Result<(Finish, Timings)> {
        let start = Instant::now();
        let mut steps = self.steps(prompt, self.backend.limits().rows)?;
        let Some(mut last) = steps.pop() else {
            return Err(Error::Usage("the prompt is empty: there is nothing to continue".into()));
        };
        last.outputs = vec![last.rows.len() as u32 - 1];
        self.tokens.extend(prompt);
        let room = self.context - self.tokens.len() + 1;
        let wanted = limit.unwrap_or(usize::MAX);
        let mut timings = Timings { prompt_tokens: prompt.len(), ..Timings::default() };
        if wanted == 0 {
            steps.push(Step { outputs: Vec::new(), ..last });
            for step in &steps {
                self.backend.step(step)?;
            }
            self.backend.wait()?;
            timings.ttft_ms = start.elapsed().as_secs_f64() * 1e3;
            return Ok((Finish::Length, timings));
        }
        for step in &steps {
            self.backend.step(step)?;
        }
        let recent = self.tokens.clone();
        let (mut stopped, mut first) = (false, start);
        let tokens = &mut self.tokens;
        self.backend.generate(&last, &recent, sampling, wanted.min(room), &mut |token| {
            let now = Instant::now();
            if timings.tokens == 0 {
                timings.ttft_ms = (now - start).as_secs_f64() * 1e3;
                first = now;
            }
            timings.tokens += 1;
            timings.decode_ms = (now - first).as_secs_f64() * 1e3;
            tokens.push(token);
            let flow = on_token(token);
            stopped = flow.is_break();
            flow
        })?;
        let finish = match (stopped, timings.tokens < wanted) {
            (true, _) => Finish::Stopped,
            (false, true) => Finish::Context,
            (false, false) => Finish::Length,
        };
        Ok((finish, timings))
    }

    /// The steps that append `tokens`, of `rows` rows at most.
    fn steps(&self, tokens: &[u32], rows: usize) -> Result<Vec<Step>> {
        let (held, context) = (self.tokens.len(), self.context);
        if held + tokens.len() > context {
            let needed = held + tokens.len();
            return Err(Error::Usage(format!(
                "{needed} tokens do not fit into a context of {context}; give a larger one with -c {needed}"
            )));
        }
        if let Some(id) = tokens.iter().find(|&&id| id as usize >= self.vocab) {
            return Err(Error::Usage(format!("token {id} is not in the vocabulary of {}", self.vocab)));
        }
        let row = |(i, &token): (usize, &u32)| Row { token, slot: 0, position: (held + i) as u32 };
        let all: Vec<Row> = tokens.iter().enumerate().map(row).collect();
        Ok(all.chunks(rows.max(1)).map(|rows| Step { rows: rows.to_vec(), outputs: Vec::new() }).collect())
    }
}
