//! How well a model foretells a text, and how far two models' distributions are from each other, as llama-perplexity defines it.
//!
//! A text's tokens are cut into chunks of one context; the rest is dropped. Each chunk is computed alone. In its second half each
//! position, which sees half a context at least, foretells the next token: of 512 these are positions 256 to 510. The perplexity is
//! `exp(mean of −ln p(next))`. The divergence is `Σ p·ln(p / q)` over the vocabulary, `p` of the base and `q` of what is held to it.

mod base;

use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::session::Session;

pub use base::{BaseReader, BaseWriter};

/// Logarithms of the probabilities of a vocabulary: `logit − ln Σ exp(logits)`.
pub fn log_softmax(logits: &[f32]) -> Vec<f32> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&logit| f64::from(logit - largest).exp()).sum();
    let shift = f64::from(largest) + sum.ln();
    logits.iter().map(|&logit| (f64::from(logit) - shift) as f32).collect()
}

/// The chunks of `context` tokens of a text, `most` at most. Where the vocabulary begins texts with BOS, each chunk's first token becomes it.
///
/// # Errors
/// A context of fewer than 4 tokens, and a text of fewer tokens than one.
pub fn chunks(
    tokens: &[u32],
    context: usize,
    most: Option<usize>,
    bos: Option<u32>,
) -> Result<Vec<Vec<u32>>> {
    if context < 4 {
        return Err(Error::Usage(format!(
            "a context of {context} tokens: 4 are the fewest that foretell one"
        )));
    }
    let chunks: Vec<Vec<u32>> = tokens
        .chunks_exact(context)
        .take(most.unwrap_or(usize::MAX))
        .map(|chunk| {
            let mut chunk = chunk.to_vec();
            if let Some(bos) = bos {
                chunk[0] = bos;
            }
            chunk
        })
        .collect();
    match chunks.is_empty() {
        true => {
            let have = tokens.len();
            Err(Error::Usage(format!(
                "the text has {have} tokens and a chunk takes {context}; give more, or a smaller -c"
            )))
        }
        false => Ok(chunks),
    }
}

/// The first position of a chunk that counts.
pub fn first_counted(context: usize) -> usize {
    context / 2
}

/// Positions of a chunk that count.
pub fn counted(context: usize) -> usize {
    context - 1 - first_counted(context)
}

/// Computes a chunk from an empty sequence on, and gives the log-probabilities at each position that counts with the token behind it.
pub fn evaluate(
    session: &mut Session<'_>,
    chunk: &[u32],
    vocab: usize,
    on_position: &mut dyn FnMut(&[f32], u32) -> Result<()>,
) -> Result<()> {
    let first = first_counted(chunk.len());
    session.clear();
    session.prefill(&chunk[..first])?;
    let (mut at, mut outcome) = (first, Ok(()));
    session.logits(&chunk[first..chunk.len() - 1], &mut |rows| {
        let rows: Vec<Vec<f32>> = rows.par_chunks_exact(vocab).map(log_softmax).collect();
        for row in rows {
            at += 1;
            if outcome.is_ok() {
                outcome = on_position(&row, chunk[at]);
            }
        }
    })?;
    outcome
}

/// A mean and how sure it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mean {
    count: usize,
    sum: f64,
    squares: f64,
}

impl Mean {
    /// Counts a value.
    pub fn add(&mut self, value: f64) {
        self.count += 1;
        self.sum += value;
        self.squares += value * value;
    }

    /// Values so far.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Their mean.
    pub fn value(&self) -> f64 {
        self.sum / self.count as f64
    }

    /// Its standard error; none below two values.
    pub fn error(&self) -> Option<f64> {
        let count = self.count as f64;
        let variance = (self.squares / count - self.value() * self.value()).max(0.0);
        (self.count > 1).then(|| (variance / (count - 1.0)).sqrt())
    }
}

/// How well a text was foretold.
#[derive(Clone, Copy, Debug, Default)]
pub struct Perplexity(
    /// Of −ln p of the tokens that came.
    pub Mean,
);

impl Perplexity {
    /// Counts a position: the log-probabilities there, and the token that came.
    pub fn add(&mut self, log_probabilities: &[f32], token: u32) {
        self.0.add(-f64::from(log_probabilities[token as usize]));
    }

    /// The perplexity.
    pub fn value(&self) -> f64 {
        self.0.value().exp()
    }

    /// Its standard error, to first order.
    pub fn error(&self) -> Option<f64> {
        self.0.error().map(|error| error * self.value())
    }
}

/// How far distributions are from those of a base.
#[derive(Clone, Copy, Debug, Default)]
pub struct Divergence {
    /// Of the divergence of Kullback and Leibler, in nats.
    pub mean: Mean,
    /// The largest of any position.
    pub largest: f64,
    /// Positions at which both have the same likeliest token.
    pub same_top: usize,
}

impl Divergence {
    /// Counts a position: log-probabilities of the base, and of what is held to it.
    pub fn add(&mut self, base: &[f32], held: &[f32]) {
        // What is impossible adds nothing, whatever it is held to.
        let term = |(&p, &q): (&f32, &f32)| match f64::from(p).exp() {
            0.0 => 0.0,
            share => share * (f64::from(p) - f64::from(q)),
        };
        let divergence: f64 = base.iter().zip(held).map(term).sum();
        self.mean.add(divergence);
        self.largest = if self.mean.count == 1 { divergence } else { self.largest.max(divergence) };
        self.same_top += usize::from(top(base) == top(held));
    }

    /// The share of positions at which both have the same likeliest token.
    pub fn share_of_same_top(&self) -> f64 {
        self.same_top as f64 / self.mean.count as f64
    }
}

/// The likeliest token; of several the first.
fn top(log_probabilities: &[f32]) -> usize {
    let mut top = 0;
    for (token, p) in log_probabilities.iter().enumerate() {
        if *p > log_probabilities[top] {
            top = token;
        }
    }
    top
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_half_of_each_chunk_counts() {
        assert_eq!((first_counted(512), counted(512)), (256, 255));
        assert_eq!((first_counted(5), counted(5)), (2, 2));
        let tokens: Vec<u32> = (0..11).collect();
        let expected = [vec![9, 1, 2, 3], vec![9, 5, 6, 7]];
        assert_eq!(chunks(&tokens, 4, None, Some(9)).unwrap(), expected);
        assert_eq!(chunks(&tokens, 4, Some(1), None).unwrap(), [vec![0, 1, 2, 3]]);
        assert!(chunks(&tokens, 12, None, None).unwrap_err().to_string().contains("11 tokens"));
        assert!(chunks(&tokens, 3, None, None).is_err());
    }

    #[test]
    fn figures_of_a_small_case_are_those_of_paper() {
        // Two tokens with 3/4 and 1/4, however far their logits are from 0.
        let shift = 80.0f32;
        let (base, held) = (log_softmax(&[shift + 3f32.ln(), shift]), log_softmax(&[0.0, 0.0]));
        let mut perplexity = Perplexity::default();
        perplexity.add(&base, 0);
        assert!(perplexity.error().is_none());
        perplexity.add(&base, 1);
        // exp of the mean of ln 4/3 and ln 4; the mean of two values is half their distance away from each.
        assert!((perplexity.value() - (16.0f64 / 3.0).sqrt()).abs() < 1e-5);
        let error = 3f64.ln() / 2.0 * perplexity.value();
        assert!((perplexity.error().unwrap() - error).abs() < 1e-5);
        let mut divergence = Divergence::default();
        divergence.add(&base, &held);
        let expected = 0.75 * 1.5f64.ln() + 0.25 * 0.5f64.ln();
        assert!((divergence.mean.value() - expected).abs() < 1e-6);
        divergence.add(&held, &held);
        assert!((divergence.largest - expected).abs() < 1e-6 && divergence.mean.value() < expected);
        assert_eq!((divergence.same_top, divergence.share_of_same_top()), (2, 1.0));
    }
}
