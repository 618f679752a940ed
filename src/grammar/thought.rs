//! Models that think before they answer: what is asked of the answer holds from the thought's end on.

use llguidance::toktrie::{TokEnv, TokTrie};

use crate::constraint::{Matcher, TokenMask};
use crate::error::{Error, Result};

/// How a thought is marked, and whether it has begun.
#[derive(Clone, Debug)]
pub struct Thought {
    /// The tokens that begin one; nothing where the prompt has done so.
    pub open: Vec<u32>,
    /// The text that ends one.
    pub close: String,
}

impl Thought {
    /// Where a sequence stands that may think and then answers.
    pub(super) fn before(&self, answer: Box<dyn Matcher>, tokens: TokEnv) -> Thinking {
        let place = match self.open.is_empty() {
            true => Place::Thought { tail: Vec::new() },
            false => Place::Opening { told: 0 },
        };
        Thinking { thought: self.clone(), place, answer, tokens }
    }
}

/// A thought and the answer behind it.
pub(super) struct Thinking {
    thought: Thought,
    place: Place,
    answer: Box<dyn Matcher>,
    tokens: TokEnv,
}

#[derive(Debug)]
enum Place {
    /// So many of the tokens that begin a thought have come; where it is none, the answer may begin instead.
    Opening {
        told: usize,
    },
    /// In a thought, of which this came last.
    Thought {
        tail: Vec<u8>,
    },
    Answer,
}

impl Matcher for Thinking {
    fn mask(&mut self) -> Result<TokenMask> {
        let vocab = self.tokens.tok_trie().vocab_size();
        match self.place {
            Place::Opening { told: 0 } => {
                let mut mask = self.answer.mask()?;
                mask.set(self.thought.open[0], true);
                Ok(mask)
            }
            Place::Opening { told } => {
                let mut mask = TokenMask::none(vocab);
                mask.set(self.thought.open[told], true);
                Ok(mask)
            }
            // Whoever ends in a thought has not answered.
            Place::Thought { .. } => {
                let mut mask = TokenMask::all(vocab);
                for &end in self.tokens.tok_trie().eos_tokens() {
                    mask.set(end, false);
                }
                Ok(mask)
            }
            Place::Answer => self.answer.mask(),
        }
    }

    fn push(&mut self, token: u32) -> Result<()> {
        match &mut self.place {
            Place::Opening { told } if self.thought.open[*told] == token => {
                *told += 1;
                if *told == self.thought.open.len() {
                    self.place = Place::Thought { tail: Vec::new() };
                }
                Ok(())
            }
            Place::Opening { told: 0 } => {
                self.place = Place::Answer;
                self.answer.push(token)
            }
            Place::Opening { .. } => Err(Error::Other(format!("token {token} is in the middle of a mark"))),
            Place::Thought { tail } => {
                let bytes = self.tokens.tok_trie().token(token);
                tail.extend(bytes.strip_prefix(&[TokTrie::SPECIAL_TOKEN_MARKER]).unwrap_or(bytes));
                let close = self.thought.close.as_bytes();
                if tail.windows(close.len()).any(|part| part == close) {
                    self.place = Place::Answer;
                } else {
                    tail.drain(..tail.len().saturating_sub(close.len()));
                }
                Ok(())
            }
            Place::Answer => self.answer.push(token),
        }
    }

    fn is_complete(&self) -> bool {
        matches!(self.place, Place::Answer) && self.answer.is_complete()
    }
}
