//! Which tokens may come next: what a grammar, or whatever else, has to say to the sampler. Knows no grammar and no device.
//!
//! A [`Constraint`] is what all sequences that keep to it share; a [`Matcher`] is where one of them stands in it. A [`TokenMask`] is what
//! the next token of that sequence is chosen from. `wgsl/mask.wgsl` is [`TokenMask::apply`] on a device.

use std::fmt;
use std::sync::Arc;

use crate::error::Result;

/// A bit for each token of a vocabulary: whether it may come next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenMask(Vec<u32>);

impl TokenMask {
    /// No token of a vocabulary of `vocab`.
    pub fn none(vocab: usize) -> TokenMask {
        TokenMask(vec![0; vocab.div_ceil(32)])
    }

    /// All tokens of it.
    pub fn all(vocab: usize) -> TokenMask {
        TokenMask(vec![u32::MAX; vocab.div_ceil(32)])
    }

    /// The words of a mask: token t is bit t % 32 of word t / 32. Tokens beyond them may not come.
    pub fn from_words(words: &[u32]) -> TokenMask {
        TokenMask(words.to_vec())
    }

    /// The words.
    pub fn words(&self) -> &[u32] {
        &self.0
    }

    /// Whether a token may come.
    pub fn allows(&self, token: u32) -> bool {
        self.0.get(token as usize / 32).is_some_and(|word| word >> (token % 32) & 1 == 1)
    }

    /// Says whether a token may come; one beyond the words may not.
    pub fn set(&mut self, token: u32, may: bool) {
        if let Some(word) = self.0.get_mut(token as usize / 32) {
            let bit = 1 << (token % 32);
            *word = if may { *word | bit } else { *word & !bit };
        }
    }

    /// Makes the logits of tokens that may not come NaN, which is never chosen.
    pub fn apply(&self, logits: &mut [f32]) {
        for (token, logit) in (0..).zip(logits) {
            if !self.allows(token) {
                *logit = f32::NAN;
            }
        }
    }
}

/// Where a sequence stands.
pub trait Matcher: Send {
    /// The tokens that may come next.
    ///
    /// # Errors
    /// Where there is none, or finding them takes more than is allowed.
    fn mask(&mut self) -> Result<TokenMask>;

    /// Takes the token that came.
    ///
    /// # Errors
    /// Where it may not come.
    fn push(&mut self, token: u32) -> Result<()>;

    /// Whether nothing may come any more.
    fn is_complete(&self) -> bool;
}

/// What sequences keep to; cheap to clone.
#[derive(Clone)]
pub struct Constraint(Arc<dyn Fn() -> Box<dyn Matcher> + Send + Sync>);

impl Constraint {
    /// A constraint whose sequences begin where `start` says.
    pub fn new(start: impl Fn() -> Box<dyn Matcher> + Send + Sync + 'static) -> Constraint {
        Constraint(Arc::new(start))
    }

    /// A sequence's beginning.
    pub fn start(&self) -> Box<dyn Matcher> {
        (self.0)()
    }
}

impl fmt::Debug for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Constraint")
    }
}

/// The same one, not one that says the same.
impl PartialEq for Constraint {
    fn eq(&self, other: &Constraint) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_mask_leaves_out_has_no_logit() {
        let mut mask = TokenMask::none(70);
        for token in [0, 31, 32, 69, 200] {
            mask.set(token, true);
        }
        let mut logits = vec![1.0; 100];
        mask.apply(&mut logits);
        let left: Vec<usize> = (0..100).filter(|&t| !logits[t].is_nan()).collect();
        assert_eq!(left, [0, 31, 32, 69]);
        mask.set(31, false);
        assert!(!mask.allows(31) && mask.allows(32) && !mask.allows(1000) && TokenMask::all(70).allows(69));
    }
}
