//! SentencePiece's byte-pair encoding: `llama` vocabularies, whose tokens have scores instead of ranked
//! merges.
//!
//! Of all neighbours that make a token together, those with the best score merge first, the leftmost where
//! scores are equal.

use std::cmp::Ordering;
use std::collections::HashMap;

use super::merge::{NONE, Symbol, merge};
use super::vocabulary::{Bytes, Kind, Vocabulary};
use crate::error::{Error, Result};
use crate::gguf::Metadata;

/// What stands for a space in the texts of the vocabulary: U+2581.
pub(super) const SPACE: &str = "▁";

/// The tokens that text can become, with their scores.
#[derive(Debug)]
pub(super) struct Spm {
    tokens: HashMap<Box<str>, Token>,
    /// The length in bytes of the longest token.
    longest: usize,
    bytes: Bytes,
    unknown: Option<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Token {
    id: u32,
    score: f32,
}

/// A score, by size.
#[derive(PartialEq)]
struct Score(f32);

impl Spm {
    /// Reads `tokenizer.ggml.scores`. Without them all tokens are alike, as the GGUF specification says.
    pub fn new(meta: &Metadata, vocabulary: &Vocabulary<'_>, warnings: &mut Vec<String>) -> Result<Spm> {
        let count = vocabulary.texts.len();
        let scores = scores(meta)?.unwrap_or_else(|| {
            warnings.push("tokenizer.ggml.scores is missing: all tokens are taken as equally good".into());
            vec![0.0; count]
        });
        if scores.len() < count {
            return Err(Error::Model(format!(
                "tokenizer.ggml.scores has {} entries, expected one for each of {count} tokens",
                scores.len()
            )));
        }
        if let Some(id) = scores[..count].iter().position(|score| score.is_nan()) {
            return Err(Error::Model(format!("tokenizer.ggml.scores[{id}] is not a number")));
        }
        let mut tokens = HashMap::with_capacity(count);
        let mut longest = 0;
        for (&text, &id) in &vocabulary.ids {
            // A token that is not UTF-8 is never the whole of any characters: it can only be printed.
            let Ok(text) = std::str::from_utf8(text) else { continue };
            if matches!(vocabulary.kinds[id as usize], Kind::Normal | Kind::UserDefined | Kind::Unused) {
                longest = longest.max(text.len());
                // Adding zero makes -0 equal to 0, as a comparison in C does.
                tokens.insert(text.into(), Token { id, score: scores[id as usize] + 0.0 });
            }
        }
        Ok(Spm { tokens, longest, bytes: vocabulary.bytes(), unknown: vocabulary.unknown })
    }

    /// Appends the ids of a text without special tokens. `pad`: as if a space stood in front of it.
    pub fn encode(&self, text: &str, pad: bool, ids: &mut Vec<u32>) -> Result<()> {
        let text = [if pad { SPACE } else { "" }, &text.replace(' ', SPACE)].concat();
        let mut after_unknown = false;
        for symbol in self.merge(&text) {
            let piece = &text[symbol.start..symbol.end];
            if symbol.id != NONE {
                ids.push(symbol.id);
                after_unknown = false;
            } else if let Some(bytes) =
                piece.bytes().map(|byte| self.bytes[byte as usize]).collect::<Option<Vec<_>>>()
            {
                ids.extend(bytes);
                after_unknown = false;
            } else {
                // Without byte tokens SentencePiece makes one unknown token of a run of unknown characters.
                let Some(unknown) = self.unknown else { return Err(no_token(piece)) };
                ids.extend((!after_unknown).then_some(unknown));
                after_unknown = true;
            }
        }
        Ok(())
    }

    /// The characters of the text, merged until no two neighbours make a token.
    fn merge(&self, text: &str) -> Vec<Symbol> {
        let symbol = |(start, letter): (usize, char)| {
            let end = start + letter.len_utf8();
            let id = self.tokens.get(&text[start..end]).map_or(NONE, |token| token.id);
            Symbol { id, start, end }
        };
        merge(text.char_indices().map(symbol).collect(), |a, b| {
            if b.end - a.start > self.longest {
                return None;
            }
            let token = self.tokens.get(&text[a.start..b.end])?;
            Some((Score(token.score), token.id))
        })
    }
}

/// What is wrong where a text has a part that is no token and cannot be written in bytes.
pub(super) fn no_token(piece: &str) -> Error {
    Error::Model(format!("the vocabulary has no token for {piece:?} and none for bytes"))
}

/// The bytes that an ordinary token prints.
pub(super) fn piece(text: &[u8]) -> Vec<u8> {
    let space = SPACE.as_bytes();
    let mut piece = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, behind)) = rest.split_first() {
        rest = match rest.strip_prefix(space) {
            Some(behind) => {
                piece.push(b' ');
                behind
            }
            None => {
                piece.push(first);
                behind
            }
        };
    }
    piece
}

/// The scores as floats; whole numbers are scores too.
fn scores(meta: &Metadata) -> Result<Option<Vec<f32>>> {
    let key = "tokenizer.ggml.scores";
    match meta.f32s(key) {
        Err(error) => match meta.i32s(key) {
            Ok(Some(scores)) => Ok(Some(scores.into_iter().map(|score| score as f32).collect())),
            _ => Err(error),
        },
        scores => scores,
    }
}

impl Ord for Score {
    fn cmp(&self, other: &Score) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl PartialOrd for Score {
    fn partial_cmp(&self, other: &Score) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Eq for Score {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition: look at all neighbours, merge the best, start again.
    fn merge_slowly(spm: &Spm, text: &str) -> Vec<String> {
        let mut pieces: Vec<String> = text.chars().map(String::from).collect();
        loop {
            let scores = pieces.windows(2).map(|two| spm.tokens.get(&*two.concat()).map(|token| token.score));
            let pairs = scores.enumerate().filter_map(|(at, score)| Some((at, score?)));
            let best = pairs.reduce(|best, pair| if pair.1 > best.1 { pair } else { best });
            let Some((at, _)) = best else { return pieces };
            let right = pieces.remove(at + 1);
            pieces[at].push_str(&right);
        }
    }

    proptest! {
        #[test]
        fn the_queue_merges_what_the_definition_merges(
            text in "[abé]{0,40}",
            tokens in prop::collection::btree_map("[abé]{2,5}", -3i8..0, 0..24),
        ) {
            let tokens: HashMap<Box<str>, Token> = tokens
                .into_iter()
                .map(|(text, score)| (text.into(), Token { id: 0, score: score.into() }))
                .collect();
            let spm = Spm { tokens, longest: 10, bytes: Box::new([None; 256]), unknown: None };
            let pieces = spm.merge(&text).into_iter().map(|symbol| text[symbol.start..symbol.end].to_owned());
            let pieces: Vec<String> = pieces.collect();
            prop_assert_eq!(pieces, merge_slowly(&spm, &text));
        }
    }
}
