//! Finds special tokens in a text and leaves the text between them.

use std::collections::{BTreeMap, HashMap};

use super::vocabulary::{Kind, Vocabulary};

/// The tokens that are found whole before anything else happens to a text.
#[derive(Debug)]
pub(super) struct Specials(BTreeMap<usize, SameLength>);

/// The special tokens of one length in bytes.
#[derive(Debug)]
struct SameLength {
    /// Whether a token starts with this byte.
    starts: [bool; 256],
    /// Whether one of them is found in any text.
    always: bool,
    tokens: HashMap<Box<[u8]>, Special>,
}

#[derive(Clone, Copy, Debug)]
struct Special {
    id: u32,
    /// Found in any text, not only where special tokens are asked for.
    always: bool,
    strips: Strips,
}

/// White space that a token swallows: before it, behind it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Strips {
    pub left: bool,
    pub right: bool,
}

/// A stretch of a text.
#[derive(Debug, PartialEq, Eq)]
pub enum Part<'t> {
    /// Ordinary text.
    Text(&'t str),
    /// A special token.
    Token(u32),
}

/// A special token in a text: bytes `start..end` with the white space it swallows.
struct Hit {
    start: usize,
    end: usize,
    id: u32,
}

impl Specials {
    /// The control, unknown and user-defined tokens of a vocabulary; `strips` says of a text what white space it
    /// swallows.
    pub fn new(vocabulary: &Vocabulary<'_>, strips: impl Fn(&str) -> Strips) -> Specials {
        Specials::of(vocabulary, &[Kind::Control, Kind::Unknown, Kind::UserDefined], strips)
    }

    /// The same of control tokens alone, for a tokenizer that finds by itself what is found in any text.
    pub fn controls(vocabulary: &Vocabulary<'_>, strips: impl Fn(&str) -> Strips) -> Specials {
        Specials::of(vocabulary, &[Kind::Control], strips)
    }

    fn of(vocabulary: &Vocabulary<'_>, kinds: &[Kind], strips: impl Fn(&str) -> Strips) -> Specials {
        let mut lengths = BTreeMap::new();
        for ((&text, &kind), id) in vocabulary.texts.iter().zip(&vocabulary.kinds).zip(0..) {
            if !kinds.contains(&kind) {
                continue;
            }
            // What is not UTF-8 could be found in the middle of a character.
            let Ok(name) = std::str::from_utf8(text) else { continue };
            let Some(&start) = text.first() else { continue };
            let length = lengths.entry(text.len()).or_insert_with(|| SameLength {
                starts: [false; 256],
                always: false,
                tokens: HashMap::new(),
            });
            let always = kind == Kind::UserDefined;
            length.starts[start as usize] = true;
            length.always |= always;
            length.tokens.insert(text.into(), Special { id, always, strips: strips(name) });
        }
        Specials(lengths)
    }

    /// The text cut at its special tokens: long tokens are found before short ones, wherever they are, as in
    /// llama.cpp. With `special` off only user-defined tokens count.
    pub fn split<'t>(&self, text: &'t str, special: bool) -> Vec<Part<'t>> {
        let mut parts = Vec::new();
        let mut at = 0;
        for hit in self.find(text.as_bytes(), special) {
            if at < hit.start {
                parts.push(Part::Text(&text[at..hit.start]));
            }
            parts.push(Part::Token(hit.id));
            at = hit.end;
        }
        if at < text.len() {
            parts.push(Part::Text(&text[at..]));
        }
        parts
    }

    /// The texts of tokens that are not found in any text.
    pub fn control_tokens(&self) -> impl Iterator<Item = &str> {
        let tokens = self.0.values().flat_map(|same| &same.tokens);
        tokens.filter(|(_, special)| !special.always).filter_map(|(text, _)| std::str::from_utf8(text).ok())
    }

    fn find(&self, text: &[u8], special: bool) -> Vec<Hit> {
        let mut hits = Vec::new();
        let mut taken = vec![false; text.len()];
        for (&length, same) in self.0.iter().rev() {
            if !special && !same.always {
                continue;
            }
            let mut start = 0;
            while start + length <= text.len() {
                // What is taken is at least as long as this token: it covers one of the two ends.
                let free = same.starts[text[start] as usize] && !taken[start] && !taken[start + length - 1];
                let token = free.then(|| same.tokens.get(&text[start..start + length])).flatten();
                let Some(token) = token.filter(|token| special || token.always) else {
                    start += 1;
                    continue;
                };
                let mut end = start + length;
                while token.strips.left && start > 0 && !taken[start - 1] && is_space(text[start - 1]) {
                    start -= 1;
                }
                while token.strips.right && end < text.len() && !taken[end] && is_space(text[end]) {
                    end += 1;
                }
                taken[start..end].fill(true);
                hits.push(Hit { start, end, id: token.id });
                start = end;
            }
        }
        hits.sort_unstable_by_key(|hit| hit.start);
        hits
    }
}

/// C's `isspace`.
fn is_space(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0B
}
