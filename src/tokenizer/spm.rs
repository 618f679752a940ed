//! SentencePiece's byte-pair encoding: `llama` vocabularies, whose tokens have scores instead of ranked
//! merges.
//!
//! Of all neighbours that make a token together, those with the best score merge first, the leftmost where
//! scores are equal. The `tokenizers` crate ranks pairs and not what they make, which differs where several
//! pairs make the same token ("a"+"aa", "aa"+"a"); so the merging is here.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, HashMap};

use super::vocabulary::{Kind, Vocabulary, byte};
use crate::error::{Error, Result};
use crate::gguf::Metadata;

/// What stands for a space in the texts of the vocabulary: U+2581.
const SPACE: &str = "▁";

/// The tokens that text can become, with their scores.
#[derive(Debug)]
pub(super) struct Spm {
    tokens: HashMap<Box<str>, Token>,
    /// The length in bytes of the longest token.
    longest: usize,
    /// The byte token of each byte, if there is one.
    bytes: Vec<Option<u32>>,
    unknown: Option<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Token {
    id: u32,
    score: f32,
}

/// A stretch of the text that is one character or one token so far; empty after it merged into the one
/// before.
struct Symbol {
    start: usize,
    end: usize,
    prev: Option<usize>,
    next: Option<usize>,
}

/// Two neighbours that make a token.
struct Pair {
    score: f32,
    left: usize,
    right: usize,
    /// Length in bytes of both: if it has changed since, one of them has merged with another.
    len: usize,
}

impl Spm {
    /// Reads `tokenizer.ggml.scores`.
    pub fn new(meta: &Metadata, vocabulary: &Vocabulary<'_>) -> Result<Spm> {
        let count = vocabulary.texts.len();
        let Some(scores) = meta.f32s("tokenizer.ggml.scores")? else {
            return Err(Error::Model("tokenizer.ggml.scores is missing".into()));
        };
        if scores.len() != count {
            return Err(Error::Model(format!(
                "tokenizer.ggml.scores has {} entries, expected one for each of {count} tokens",
                scores.len()
            )));
        }
        if let Some(id) = scores.iter().position(|score| score.is_nan()) {
            return Err(Error::Model(format!("tokenizer.ggml.scores[{id}] is not a number")));
        }
        let mut bytes = vec![None; 256];
        let mut tokens = HashMap::with_capacity(count);
        for (&text, &id) in &vocabulary.ids {
            match vocabulary.kinds[id as usize] {
                Kind::Normal | Kind::UserDefined | Kind::Unused => {
                    // Adding zero makes -0 equal to 0, as a comparison in C does.
                    tokens.insert(text.into(), Token { id, score: scores[id as usize] + 0.0 });
                }
                Kind::Byte => {
                    if let Some(byte) = byte(text) {
                        bytes[byte as usize] = Some(id);
                    }
                }
                // No text may become one of these.
                Kind::Control | Kind::Unknown => {}
            }
        }
        let longest = vocabulary.texts.iter().map(|text| text.len()).max().unwrap_or(0);
        Ok(Spm { tokens, longest, bytes, unknown: vocabulary.unknown })
    }

    /// Appends the ids of a text without special tokens. `pad`: as if a space stood in front of it.
    pub fn encode(&self, text: &str, pad: bool, ids: &mut Vec<u32>) -> Result<()> {
        let text = [if pad { SPACE } else { "" }, &text.replace(' ', SPACE)].concat();
        let symbols = self.merge(&text);
        let mut at = Some(0).filter(|_| !symbols.is_empty());
        let mut after_unknown = false;
        while let Some(symbol) = at.map(|at| &symbols[at]) {
            let piece = &text[symbol.start..symbol.end];
            at = symbol.next;
            if let Some(token) = self.tokens.get(piece) {
                ids.push(token.id);
                after_unknown = false;
            } else if let Some(bytes) =
                piece.bytes().map(|byte| self.bytes[byte as usize]).collect::<Option<Vec<_>>>()
            {
                ids.extend(bytes);
                after_unknown = false;
            } else {
                // Without byte tokens SentencePiece makes one unknown token of a run of unknown characters.
                let Some(unknown) = self.unknown else {
                    return Err(Error::Model(format!(
                        "the vocabulary has no token for {piece:?} and none for bytes"
                    )));
                };
                ids.extend((!after_unknown).then_some(unknown));
                after_unknown = true;
            }
        }
        Ok(())
    }

    /// The characters of the text, merged until no two neighbours make a token. O(n log n).
    fn merge(&self, text: &str) -> Vec<Symbol> {
        let mut symbols: Vec<Symbol> = text
            .char_indices()
            .enumerate()
            .map(|(at, (start, letter))| {
                let end = start + letter.len_utf8();
                Symbol { start, end, prev: at.checked_sub(1), next: (end < text.len()).then_some(at + 1) }
            })
            .collect();
        let mut pairs: BinaryHeap<Pair> = (1..symbols.len())
            .filter_map(|right| self.pair(text, &symbols, Some(right - 1), Some(right)))
            .collect();
        while let Some(Pair { left, right, len, .. }) = pairs.pop() {
            let (a, b) = (&symbols[left], &symbols[right]);
            if a.start == a.end || b.start == b.end || b.end - a.start != len || a.next != Some(right) {
                continue;
            }
            let (end, next) = (b.end, b.next);
            symbols[left].end = end;
            symbols[left].next = next;
            symbols[right].end = symbols[right].start;
            if let Some(next) = next {
                symbols[next].prev = Some(left);
            }
            pairs.extend(self.pair(text, &symbols, symbols[left].prev, Some(left)));
            pairs.extend(self.pair(text, &symbols, Some(left), next));
        }
        symbols
    }

    fn pair(
        &self,
        text: &str,
        symbols: &[Symbol],
        left: Option<usize>,
        right: Option<usize>,
    ) -> Option<Pair> {
        let (left, right) = (left?, right?);
        let (start, end) = (symbols[left].start, symbols[right].end);
        let token = (end - start <= self.longest).then(|| self.tokens.get(&text[start..end]))??;
        Some(Pair { score: token.score, left, right, len: end - start })
    }
}

/// The bytes that an ordinary token prints.
pub(super) fn piece(text: &str) -> Vec<u8> {
    text.replace(SPACE, " ").into_bytes()
}

impl Ord for Pair {
    /// The best score is greatest, and of equal scores the leftmost.
    fn cmp(&self, other: &Pair) -> Ordering {
        self.score.total_cmp(&other.score).then(Reverse(self.left).cmp(&Reverse(other.left)))
    }
}

impl PartialOrd for Pair {
    fn partial_cmp(&self, other: &Pair) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Pair {
    fn eq(&self, other: &Pair) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Pair {}

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
            let spm = Spm { tokens, longest: 10, bytes: vec![None; 256], unknown: None };
            let pieces = spm.merge(&text).into_iter().map(|symbol| text[symbol.start..symbol.end].to_owned());
            let pieces: Vec<String> = pieces.filter(|piece| !piece.is_empty()).collect();
            prop_assert_eq!(pieces, merge_slowly(&spm, &text));
        }
    }
}
