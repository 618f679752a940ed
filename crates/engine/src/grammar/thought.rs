//! Models that think before they answer: what is asked of the answer holds from the thought's end on.

use llguidance::toktrie::{TokEnv, TokTrie};

use crate::constraint::{Matcher, TokenMask};
use crate::error::Result;

/// How a thought is marked, and whether it has begun.
#[derive(Clone, Debug)]
pub struct Thought {
    /// The token that may begin one; none where the prompt has done so.
    pub open: Option<u32>,
    /// The text that ends one.
    pub close: String,
}

impl Thought {
    /// Where a sequence stands that may think and then answers.
    pub(super) fn before(&self, answer: Box<dyn Matcher>, tokens: TokEnv) -> Thinking {
        let place = match self.open {
            Some(open) => Place::Opening(open),
            None => Place::Thought(Vec::new()),
        };
        Thinking { close: self.close.clone(), place, answer, tokens }
    }
}

/// A thought and the answer behind it.
pub(super) struct Thinking {
    close: String,
    place: Place,
    answer: Box<dyn Matcher>,
    tokens: TokEnv,
}

#[derive(Debug)]
enum Place {
    /// Where a thought may begin with this token, or the answer.
    Opening(u32),
    /// In a thought, of which these bytes came last.
    Thought(Vec<u8>),
    Answer,
}

impl Matcher for Thinking {
    fn mask(&mut self) -> Result<TokenMask> {
        match self.place {
            Place::Opening(open) => {
                let mut mask = self.answer.mask()?;
                mask.set(open, true);
                Ok(mask)
            }
            // Whoever ends in a thought has not answered.
            Place::Thought(_) => {
                let trie = self.tokens.tok_trie();
                let mut mask = TokenMask::all(trie.vocab_size());
                for &end in trie.eos_tokens() {
                    mask.set(end, false);
                }
                Ok(mask)
            }
            Place::Answer => self.answer.mask(),
        }
    }

    fn push(&mut self, token: u32) -> Result<()> {
        match &mut self.place {
            Place::Opening(open) if *open == token => self.place = Place::Thought(Vec::new()),
            Place::Opening(_) => {
                self.place = Place::Answer;
                self.answer.push(token)?;
            }
            Place::Thought(last) => {
                let bytes = self.tokens.tok_trie().token(token);
                last.extend(bytes.strip_prefix(&[TokTrie::SPECIAL_TOKEN_MARKER]).unwrap_or(bytes));
                let close = self.close.as_bytes();
                if last.windows(close.len()).any(|part| part == close) {
                    self.place = Place::Answer;
                } else {
                    last.drain(..last.len().saturating_sub(close.len()));
                }
            }
            Place::Answer => self.answer.push(token)?,
        }
        Ok(())
    }

    fn is_complete(&self) -> bool {
        matches!(self.place, Place::Answer) && self.answer.is_complete()
    }
}
