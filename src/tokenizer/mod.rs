//! Text to token ids and back, as the vocabulary in a GGUF file defines it.
//!
//! This folder owns what lies between characters and ids: which vocabularies are known, the ids of any text,
//! the text of any ids, and which ids end a generation. It leaves reading the file to [`gguf`](crate::gguf),
//! roles and templates to the chat code, and printing to the caller.
//!
//! `vocabulary` reads and checks the keys, `special` finds special tokens in a text, `pre` cuts the rest into
//! words, `bpe` and `spm` turn text into ids, `stream` puts bytes together to characters.

mod bpe;
mod pre;
mod special;
mod spm;
mod stream;
mod vocabulary;

use std::collections::BTreeSet;

use crate::error::{Error, Result};
use crate::gguf::Metadata;
use bpe::Bpe;
pub use special::Part;
use special::Specials;
use spm::Spm;
pub use stream::Stream;
use vocabulary::{Defaults, Vocabulary};

/// A tokenizer built from the metadata of one GGUF file.
#[derive(Debug)]
pub struct Tokenizer {
    model: String,
    pre: String,
    words: Words,
    specials: Specials,
    /// What each token prints: bytes, because a token may end within a character. Control tokens print
    /// nothing.
    pieces: Vec<Box<[u8]>>,
    bos: Option<u32>,
    eos: Option<u32>,
    adds_bos: bool,
    adds_eos: bool,
    /// `encode` puts a space in front of a text, and `decode` takes it away.
    pads: bool,
    ends: BTreeSet<u32>,
    warnings: Vec<String>,
}

/// How to treat a text. The default is right for what a user wrote and what stands in the middle of a prompt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Encode {
    /// Recognise the text of control tokens such as `<|im_end|>`: off for what a user wrote, on for
    /// templates.
    pub special: bool,
    /// Add BOS in front and EOS behind where the vocabulary asks for it.
    pub bos: bool,
}

/// How the text between special tokens becomes ids.
#[derive(Debug)]
enum Words {
    Bpe(Box<Bpe>),
    Spm(Spm),
}

impl Tokenizer {
    /// The tokenizer of a file, or `None` where the file has none (`tokenizer.ggml.model` is `none` or
    /// absent).
    ///
    /// # Errors
    /// [`Error::Model`] names the key that is missing, damaged or not understood, and what is known instead.
    pub fn from_metadata(meta: &Metadata) -> Result<Option<Tokenizer>> {
        let mut warnings = Vec::new();
        let (model, pre, defaults) = match meta.str("tokenizer.ggml.model")? {
            Some("none" | "no_vocab") => return Ok(None),
            None if meta.strings("tokenizer.ggml.tokens")?.is_none() => return Ok(None),
            None => return Err(Error::Model("tokenizer.ggml.model is missing, but there are tokens".into())),
            Some("llama") => ("llama", None, vocabulary::SPM),
            Some("gpt2") => {
                let pre = pre::find(meta.str("tokenizer.ggml.pre")?, &mut warnings)?;
                ("gpt2", Some(pre), Defaults { adds_bos: pre.adds_bos, ..vocabulary::BPE })
            }
            Some(other) => {
                let what =
                    format!("tokenizer.ggml.model {other:?} is not known; known are gpt2, llama, none");
                return Err(Error::Model(what));
            }
        };
        let vocabulary = Vocabulary::read(meta, defaults, &mut warnings)?;
        let asks_for_space = meta.bool("tokenizer.ggml.add_space_prefix")?;
        if pre.is_some() && asks_for_space == Some(true) {
            warnings
                .push("tokenizer.ggml.add_space_prefix is ignored: gpt2 vocabularies add no space".into());
        }
        let (words, pieces) = match pre {
            Some(pre) => {
                (Words::Bpe(Box::new(Bpe::new(meta, &vocabulary, pre)?)), vocabulary.pieces(bpe::piece)?)
            }
            None => (Words::Spm(Spm::new(meta, &vocabulary)?), vocabulary.pieces(spm::piece)?),
        };
        Ok(Some(Tokenizer {
            model: model.to_owned(),
            pre: meta.str("tokenizer.ggml.pre")?.unwrap_or("default").to_owned(),
            words,
            specials: Specials::new(&vocabulary, strips_right(meta)?),
            pieces,
            bos: vocabulary.bos,
            eos: vocabulary.eos,
            adds_bos: vocabulary.adds_bos,
            adds_eos: vocabulary.adds_eos,
            pads: pre.is_none() && asks_for_space.unwrap_or(true),
            ends: vocabulary.ends,
            warnings,
        }))
    }

    /// The ids of a text. Nothing in the text is read as a control token unless `how.special` says so; tokens
    /// that the vocabulary marks as user-defined are always found whole, as in llama.cpp.
    ///
    /// # Errors
    /// [`Error::Model`] if the vocabulary has no token for a byte of the text.
    pub fn encode(&self, text: &str, how: Encode) -> Result<Vec<u32>> {
        let mut ids = Vec::with_capacity(text.len() / 3 + 2);
        ids.extend(self.bos.filter(|_| how.bos && self.adds_bos));
        for part in self.specials.split(text, how.special) {
            match (part, &self.words) {
                (Part::Token(id), _) => ids.push(id),
                (Part::Text(text), Words::Bpe(bpe)) => bpe.encode(text, &mut ids)?,
                (Part::Text(text), Words::Spm(spm)) => spm.encode(text, self.pads, &mut ids)?,
            }
        }
        ids.extend(self.eos.filter(|_| how.bos && self.adds_eos));
        Ok(ids)
    }

    /// A text cut at its special tokens, control tokens among them: for what a template wrote.
    pub fn split<'t>(&self, text: &'t str) -> Vec<Part<'t>> {
        self.specials.split(text, true)
    }

    /// The texts of the tokens that are recognised only where [`Encode::special`] asks for it.
    pub fn control_tokens(&self) -> impl Iterator<Item = &str> {
        self.specials.control_tokens()
    }

    /// The text of a whole sequence. Control tokens print nothing, broken UTF-8 and ids beyond the vocabulary
    /// print U+FFFD, and the space that `encode` put in front is taken away.
    pub fn decode(&self, ids: &[u32]) -> String {
        let bytes: Vec<u8> = ids.iter().flat_map(|&id| self.piece(id)).copied().collect();
        let text = bytes.strip_prefix(b" ").filter(|_| self.pads).unwrap_or(&bytes);
        String::from_utf8_lossy(text).into_owned()
    }

    /// A decoder for tokens that continue a text, one at a time.
    pub fn stream(&self) -> Stream<'_> {
        Stream::new(self)
    }

    /// Whether a generation ends at this token.
    pub fn is_end(&self, id: u32) -> bool {
        self.ends.contains(&id)
    }

    /// Every token at which a generation ends: EOS, end of turn, end of message and their like.
    pub fn end_tokens(&self) -> &BTreeSet<u32> {
        &self.ends
    }

    /// The number of tokens; ids are below it.
    pub fn vocab_size(&self) -> usize {
        self.pieces.len()
    }

    /// The token that begins a text.
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// The token that ends a text. [`Tokenizer::is_end`] knows more of them.
    pub fn eos(&self) -> Option<u32> {
        self.eos
    }

    /// Whether [`Encode::bos`] adds BOS.
    pub fn adds_bos(&self) -> bool {
        self.adds_bos
    }

    /// `tokenizer.ggml.model`.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// `tokenizer.ggml.pre`, or `default` where the file does not say.
    pub fn pre(&self) -> &str {
        &self.pre
    }

    /// What the file left open or asked for in vain, for the person who runs it.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// What a token prints.
    fn piece(&self, id: u32) -> &[u8] {
        match self.pieces.get(id as usize) {
            Some(piece) => piece,
            None => "\u{FFFD}".as_bytes(),
        }
    }
}

/// Phi-3's special tokens swallow the white space behind them. GGUF has no key for that; llama.cpp goes by
/// the name.
fn strips_right(meta: &Metadata) -> Result<bool> {
    let name = meta.str("general.name")?.unwrap_or_default().to_lowercase();
    Ok(name.contains("phi-3") || name.contains("phi3"))
}
