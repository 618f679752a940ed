//! Byte-pair encoding with ranked merges: `gpt2` and `gemma4` vocabularies.

use std::cmp::Reverse;
use std::collections::HashMap;

use rayon::prelude::*;

use super::cuts::Cuts;
use super::merge::{NONE, Symbol, merge};
use super::pre::{Letters, Pre, Whole};
use super::spm;
use super::vocabulary::{Bytes, Vocabulary, shown};
use crate::error::{Error, Result};
use crate::gguf::Metadata;

/// The merges of a vocabulary and the words they apply to.
#[derive(Debug)]
pub(super) struct Bpe {
    cuts: Cuts,
    letters: Alphabet,
    /// Words that become one token without any merge.
    whole: HashMap<Box<[u8]>, u32>,
    /// The rank and the result of two neighbours.
    merges: HashMap<(u32, u32), (u32, u32)>,
}

/// What a word is before the first merge.
#[derive(Debug)]
enum Alphabet {
    /// The token of each byte.
    Bytes(Bytes),
    /// The token of each character that has one, and what stands for the others.
    Characters { tokens: HashMap<char, u32>, bytes: Bytes, unknown: Option<u32> },
}

impl Bpe {
    /// Reads `tokenizer.ggml.merges`.
    pub fn new(meta: &Metadata, vocabulary: &Vocabulary<'_>, pre: &Pre) -> Result<Bpe> {
        let merges = merges(meta, vocabulary)?;
        let letters = match pre.letters {
            Letters::Bytes => {
                let token =
                    |byte: usize| vocabulary.text_id(LETTERS[byte].encode_utf8(&mut [0; 4]).as_bytes());
                Alphabet::Bytes(Box::new(std::array::from_fn(token)))
            }
            Letters::Characters => {
                let letter = |(&text, &id): (&&[u8], &u32)| {
                    let mut chars = std::str::from_utf8(text).ok()?.chars();
                    let letter = chars.next().filter(|_| chars.next().is_none())?;
                    vocabulary.is_text(id).then_some((letter, id))
                };
                Alphabet::Characters {
                    tokens: vocabulary.ids.iter().filter_map(letter).collect(),
                    bytes: vocabulary.bytes(),
                    unknown: vocabulary.unknown,
                }
            }
        };
        // Control tokens stay out: no word of a user's text may become one.
        let tokens = vocabulary.ids.iter().filter(|&(_, &id)| vocabulary.is_text(id));
        let whole = match pre.whole {
            Whole::Never => HashMap::new(),
            Whole::Always => tokens.map(|(text, &id)| (pre.letters.piece(text).into(), id)).collect(),
            Whole::LineFeeds => tokens
                .filter(|(text, _)| text.iter().all(|&byte| byte == b'\n'))
                .map(|(&text, &id)| (text.into(), id))
                .collect(),
        };
        Ok(Bpe { cuts: Cuts::new(pre.names[0], pre.cuts)?, letters, whole, merges })
    }

    /// Appends the ids of a text without special tokens.
    pub fn encode(&self, text: &str, ids: &mut Vec<u32>) -> Result<()> {
        match &self.letters {
            Alphabet::Bytes(tokens) => {
                for word in self.cuts.words(text) {
                    if let Some(&id) = self.whole.get(word.as_bytes()) {
                        ids.push(id);
                        continue;
                    }
                    let symbol = |(at, byte): (usize, u8)| match tokens[byte as usize] {
                        Some(id) => Ok(Symbol { id, start: at, end: at + 1 }),
                        None => Err(Error::Model(format!(
                            "the vocabulary has no token for byte 0x{byte:02X} of the text"
                        ))),
                    };
                    let symbols = word.bytes().enumerate().map(symbol).collect::<Result<_>>()?;
                    ids.extend(self.merge(symbols).iter().map(|symbol| symbol.id));
                }
            }
            Alphabet::Characters { tokens, bytes, unknown } => {
                for word in self.cuts.words(&text.replace(' ', spm::SPACE)) {
                    if let Some(&id) = self.whole.get(word.as_bytes()) {
                        ids.push(id);
                        continue;
                    }
                    let symbol = |(start, letter): (usize, char)| Symbol {
                        id: tokens.get(&letter).copied().unwrap_or(NONE),
                        start,
                        end: start + letter.len_utf8(),
                    };
                    for symbol in self.merge(word.char_indices().map(symbol).collect()) {
                        if symbol.id != NONE {
                            ids.push(symbol.id);
                            continue;
                        }
                        let letter = &word[symbol.start..symbol.end];
                        let found: Option<Vec<u32>> =
                            letter.bytes().map(|byte| bytes[byte as usize]).collect();
                        match found.or_else(|| unknown.map(|id| vec![id])) {
                            Some(found) => ids.extend(found),
                            None => return Err(spm::no_token(letter)),
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn merge(&self, symbols: Vec<Symbol>) -> Vec<Symbol> {
        merge(symbols, |a, b| {
            let &(rank, id) = self.merges.get(&(a.id, b.id))?;
            Some((Reverse(rank), id))
        })
    }
}

impl Letters {
    /// The bytes that an ordinary token prints.
    pub fn piece(self, text: &[u8]) -> Vec<u8> {
        match self {
            Letters::Bytes => piece(text),
            Letters::Characters => spm::piece(text),
        }
    }
}

/// The bytes that an ordinary token of a byte-level vocabulary prints. Texts with letters of no byte, such as added
/// tokens, print as they are.
pub(super) fn piece(text: &[u8]) -> Vec<u8> {
    let letters = std::str::from_utf8(text).ok();
    let bytes = letters.and_then(|letters| letters.chars().map(byte).collect());
    bytes.unwrap_or_else(|| text.to_vec())
}

/// The merges by the ids of what they are made of: their rank, and what they make. Of two that are alike the first
/// counts, as in llama.cpp.
fn merges(meta: &Metadata, vocabulary: &Vocabulary<'_>) -> Result<HashMap<(u32, u32), (u32, u32)>> {
    let Some(lines) = meta.strings("tokenizer.ggml.merges")? else {
        return Err(Error::Model("tokenizer.ggml.merges is missing".into()));
    };
    let lines: Vec<&[u8]> = lines.collect();
    // Half a million merges are three lookups each in a vocabulary that no cache holds: worth all cores.
    let found = lines.par_iter().enumerate().map(|(rank, &line)| {
        let bad = |what| Error::Model(format!("tokenizer.ggml.merges[{rank}] is {}, {what}", shown(line)));
        let (left, right) =
            halves(line).ok_or_else(|| bad("expected two tokens and a space between them"))?;
        let id = |text: &[u8]| {
            let id = vocabulary.ids.get(text).copied();
            id.ok_or_else(|| bad("but the vocabulary lacks one of the two or what they make"))
        };
        Ok(((id(left)?, id(right)?), id(&[left, right].concat())?))
    });
    let found: Vec<_> = found.collect::<Result<_>>()?;
    let mut merges = HashMap::with_capacity(found.len());
    for ((pair, made), rank) in found.into_iter().zip(0..) {
        merges.entry(pair).or_insert((rank, made));
    }
    Ok(merges)
}

/// The two tokens of a merge. The space between them is never the first character.
fn halves(merge: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = 1 + merge.get(1..)?.iter().position(|&byte| byte == b' ')?;
    Some((&merge[..space], &merge[space + 1..]))
}

/// The letter that stands for each byte in the texts of a byte-level vocabulary: itself where it is visible
/// Latin-1, else the next letter from U+0100 on (`bytes_to_unicode` of GPT-2's encoder.py).
const LETTERS: [char; 256] = {
    let mut letters = ['\0'; 256];
    let mut next = 0x100;
    let mut byte = 0;
    while byte < 256 {
        let code = if is_visible(byte as u8) { byte as u32 } else { next };
        next += (code == next) as u32;
        if let Some(letter) = char::from_u32(code) {
            letters[byte] = letter;
        }
        byte += 1;
    }
    letters
};

/// The byte of each letter, by its code point; those of no byte are none.
const BYTES: [Option<u8>; 0x144] = {
    let mut bytes = [None; 0x144];
    let mut byte = 0;
    while byte < 256 {
        bytes[LETTERS[byte] as usize] = Some(byte as u8);
        byte += 1;
    }
    bytes
};

/// The byte that a letter stands for.
fn byte(letter: char) -> Option<u8> {
    BYTES.get(letter as usize).copied().flatten()
}

const fn is_visible(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF)
}
