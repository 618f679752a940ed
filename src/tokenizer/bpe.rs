//! Byte-level byte-pair encoding with ranked merges: `gpt2` vocabularies.
//!
//! The merging itself is the `tokenizers` crate's; here are the checks it leaves out and the bytes behind letters.

use tokenizers::Model as _;
use tokenizers::models::bpe::{BPE, BpeBuilder, Merges, Vocab};

use super::pre::{Cuts, Pre};
use super::vocabulary::{Kind, Vocabulary};
use crate::error::{Error, Result};
use crate::gguf::Metadata;

/// The merges of a vocabulary and the words they apply to.
#[derive(Debug)]
pub(super) struct Bpe {
    merges: BPE,
    cuts: Cuts,
    /// Bytes for which the vocabulary has no token: the crate would drop them.
    missing: Vec<u8>,
}

impl Bpe {
    /// Reads `tokenizer.ggml.merges`.
    pub fn new(meta: &Metadata, vocabulary: &Vocabulary<'_>, pre: &Pre) -> Result<Bpe> {
        let (merges, mut words) = merges(meta, vocabulary)?;
        // Control tokens stay out unless the merges make them: no word of a user's text may become one.
        for (&text, &id) in &vocabulary.ids {
            if !matches!(vocabulary.kinds[id as usize], Kind::Control | Kind::Unknown) {
                words.insert(text.to_owned(), id);
            }
        }
        let missing =
            (0..=255).filter(|&byte| !words.contains_key(&*LETTERS[byte as usize].to_string())).collect();
        let merges = BpeBuilder::new()
            .vocab_and_merges(words, merges)
            .ignore_merges(pre.whole_words)
            .build()
            .map_err(|error| Error::Model(format!("tokenizer.ggml.merges: {error}")))?;
        Ok(Bpe { merges, cuts: Cuts::new(pre)?, missing })
    }

    /// Appends the ids of a text without special tokens.
    pub fn encode(&self, text: &str, ids: &mut Vec<u32>) -> Result<()> {
        if let Some(byte) = text.bytes().find(|byte| self.missing.contains(byte)) {
            return Err(Error::Model(format!(
                "the vocabulary has no token for byte 0x{byte:02X} of the text"
            )));
        }
        let mut word = String::new();
        for bytes in self.cuts.words(text) {
            word.clear();
            word.extend(bytes.bytes().map(|byte| LETTERS[byte as usize]));
            let tokens = self.merges.tokenize(&word).map_err(|error| Error::Other(error.to_string()))?;
            ids.extend(tokens.iter().map(|token| token.id));
        }
        Ok(())
    }
}

/// The bytes that an ordinary token prints. Texts with letters of no byte, such as added tokens, print as
/// they are.
pub(super) fn piece(text: &str) -> Vec<u8> {
    let bytes: Option<Vec<u8>> = text.chars().map(byte).collect();
    bytes.unwrap_or_else(|| text.as_bytes().to_vec())
}

/// The merges by rank, and the tokens they are made of and make.
fn merges(meta: &Metadata, vocabulary: &Vocabulary<'_>) -> Result<(Merges, Vocab)> {
    let Some(lines) = meta.strings("tokenizer.ggml.merges")? else {
        return Err(Error::Model("tokenizer.ggml.merges is missing".into()));
    };
    let mut merges = Merges::with_capacity(lines.len());
    let mut words = Vocab::with_capacity(vocabulary.ids.len());
    for (rank, line) in lines.enumerate() {
        let bad = |what| {
            let line = String::from_utf8_lossy(line);
            Error::Model(format!("tokenizer.ggml.merges[{rank}] is {line:?}, {what}"))
        };
        let text = std::str::from_utf8(line).map_err(|_| bad("which is not UTF-8"))?;
        let (left, right) =
            halves(text).ok_or_else(|| bad("expected two tokens and a space between them"))?;
        for piece in [left, right, &[left, right].concat()] {
            let id = vocabulary.ids.get(piece);
            let &id = id.ok_or_else(|| bad("but the vocabulary lacks one of the two or what they make"))?;
            if matches!(vocabulary.kinds[id as usize], Kind::Control | Kind::Unknown) {
                words.insert(piece.to_owned(), id);
            }
        }
        merges.push((left.to_owned(), right.to_owned()));
    }
    Ok((merges, words))
}

/// The two tokens of a merge. The space between them is never the first character.
fn halves(merge: &str) -> Option<(&str, &str)> {
    let (space, _) = merge.char_indices().skip(1).find(|(_, letter)| *letter == ' ')?;
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

/// The byte that a letter stands for.
fn byte(letter: char) -> Option<u8> {
    let byte = LETTERS.iter().position(|&other| other == letter)?;
    u8::try_from(byte).ok()
}

const fn is_visible(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF)
}
