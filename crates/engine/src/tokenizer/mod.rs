//! Text to token ids and back, as the vocabulary in a GGUF file defines it.
//!
//! This folder owns what lies between characters and ids: which vocabularies are known, the ids of any text,
//! the text of any ids, and which ids end a generation. It leaves reading the file to [`gguf`](crate::gguf),
//! roles and templates to the chat code, and printing to the caller.
//!
//! `vocabulary` reads and checks the keys, `special` finds special tokens in a text, `pre` and `cuts` cut the rest
//! into words, `bpe` and `spm` turn text into ids by `merge`, `stream` puts bytes together to characters. `json` takes
//! a `tokenizer.json` instead of a GGUF file.

mod bpe;
mod charsmap;
mod cuts;
mod json;
mod merge;
mod pre;
mod special;
mod spm;
mod stream;
mod trust;
mod vocabulary;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::gguf::{Gguf, Metadata, Value};
use bpe::Bpe;
use json::Json;
pub use json::Roles;
pub use special::Part;
use special::{Specials, Strips};
use spm::Spm;
pub use stream::Stream;
use vocabulary::{Defaults, Vocabulary};

/// Where a checkpoint has its tokenizer.
const JSON: &str = "tokenizer.json";
/// The key under which a GGUF file has one.
pub(crate) const EMBEDDED: &str = "tokenizer.huggingface.json";

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
    /// The texts of control tokens, which print nothing.
    controls: BTreeMap<u32, Box<str>>,
    bos: Option<u32>,
    eos: Option<u32>,
    adds_bos: bool,
    adds_eos: bool,
    /// `encode` puts a space in front of a text, and `decode` takes it away.
    pads: bool,
    ends: BTreeSet<u32>,
    warnings: Vec<String>,
}

/// Where the tokenizer of a model comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// The model's own, where it has one.
    #[default]
    Model,
    /// This `tokenizer.json` in its place; which tokens begin and end a text the model still says.
    Json(PathBuf),
    /// Nowhere: who has ids already needs none.
    Nowhere,
}

impl Source {
    /// The tokenizer for the model of a file, or `None` where there is none.
    ///
    /// # Errors
    /// [`Error::Model`] names the file and what in it is missing, damaged or not understood, or how many tokens it has where the
    /// model has another vocabulary.
    pub fn open(&self, file: &Gguf) -> Result<Option<Tokenizer>> {
        match self {
            Source::Model => Tokenizer::of(file),
            Source::Json(path) => {
                // As many as there are embeddings; a file that is a vocabulary alone has none.
                let vocab = file.tensor("token_embd.weight").and_then(|table| table.dims.get(1));
                let vocab = vocab.and_then(|&rows| usize::try_from(rows).ok());
                Tokenizer::from_json(path, &Roles::from_metadata(file.metadata())?, vocab).map(Some)
            }
            Source::Nowhere => Ok(None),
        }
    }
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
    Json(Box<Json>),
}

impl Tokenizer {
    /// Whether a file has a tokenizer, at no cost: [`Tokenizer::of`] builds it.
    pub fn is_in(file: &Gguf) -> bool {
        if let Some(folder) = file.checkpoint() {
            return folder.join(JSON).is_file();
        }
        let meta = file.metadata();
        if meta.get(EMBEDDED).is_some() && meta.get("tokenizer.ggml.model").is_none() {
            return true;
        }
        match meta.get("tokenizer.ggml.model").map(|model| model.str()) {
            Some(model) => !matches!(model, Some("none" | "no_vocab")),
            None => meta.get("tokenizer.ggml.tokens").is_some(),
        }
    }

    /// The names that `tokenizer.ggml.pre` may have, as [`Tokenizer::from_metadata`] knows them.
    pub fn known_pres() -> impl Iterator<Item = &'static str> {
        pre::names()
    }

    /// The tokenizer of a model: that of a GGUF file's metadata, or the `tokenizer.json` of a checkpoint.
    ///
    /// # Errors
    /// [`Error::Model`] names the file and what in it is missing, damaged or not understood.
    pub fn of(file: &Gguf) -> Result<Option<Tokenizer>> {
        let Some(folder) = file.checkpoint() else {
            return Tokenizer::from_metadata(file.metadata()).map_err(|e| e.in_file(file.name().as_ref()));
        };
        match Tokenizer::is_in(file) {
            true => Tokenizer::from_json(&folder.join(JSON), &Roles::from_metadata(file.metadata())?, None)
                .map(Some),
            false => Ok(None),
        }
    }

    /// The tokenizer of a file's metadata, or `None` where the file has none (`tokenizer.ggml.model` is `none` or
    /// absent).
    ///
    /// # Errors
    /// [`Error::Model`] names the key that is missing, damaged or not understood, and what is known instead.
    pub fn from_metadata(meta: &Metadata) -> Result<Option<Tokenizer>> {
        let mut warnings = Vec::new();
        let (model, pre, defaults) = match meta.str("tokenizer.ggml.model")? {
            Some("none" | "no_vocab") => return Ok(None),
            None if meta.strings("tokenizer.ggml.tokens")?.is_none() => {
                let Some(text) = meta.str(EMBEDDED)? else { return Ok(None) };
                let roles = Roles::from_metadata(meta)?;
                return Tokenizer::from_json_text(
                    text.as_bytes(),
                    &serde_json::Value::Null,
                    EMBEDDED,
                    &roles,
                    None,
                )
                .map(Some);
            }
            None => return Err(Error::Model("tokenizer.ggml.model is missing, but there are tokens".into())),
            Some("llama") => ("llama", None, vocabulary::SPM),
            Some("gpt2") => {
                let pre = pre::find(meta.str("tokenizer.ggml.pre")?, &mut warnings)?;
                ("gpt2", Some(pre), vocabulary::BPE)
            }
            Some("gemma4") => ("gemma4", Some(pre::find(Some("gemma4"), &mut warnings)?), vocabulary::GEMMA4),
            Some(other) => {
                let what = format!(
                    "tokenizer.ggml.model {other:?} is not known; known are gpt2, llama, gemma4, none"
                );
                return Err(Error::Model(what));
            }
        };
        let defaults = pre.map_or(defaults, |pre| Defaults {
            adds_bos: pre.adds_bos,
            insists_on_bos: pre.insists_on_bos,
            ..defaults
        });
        let vocabulary = Vocabulary::read(meta, defaults, &mut warnings)?;
        let (words, pieces, pads) = match pre {
            Some(pre) => {
                // Nothing is put in front of these, whatever the key says, as in llama.cpp.
                if let Ok(Some(true)) = meta.bool("tokenizer.ggml.add_space_prefix") {
                    warnings.push(format!(
                        "tokenizer.ggml.add_space_prefix is ignored: {model} vocabularies add no space"
                    ));
                }
                let bpe = Bpe::new(meta, &vocabulary, pre)?;
                (Words::Bpe(Box::new(bpe)), vocabulary.pieces(|text| pre.letters.piece(text))?, false)
            }
            None => {
                let pads = meta.bool("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
                let spm = Spm::new(meta, &vocabulary, &mut warnings)?;
                (Words::Spm(spm), vocabulary.pieces(spm::piece)?, pads)
            }
        };
        let pre = match pre {
            Some(pre) if model == "gemma4" => pre.names[0].to_owned(),
            _ => text(meta, "tokenizer.ggml.pre").unwrap_or_else(|| "default".into()),
        };
        let specials =
            Specials::new(&vocabulary, strips(&pre, &text(meta, "general.name").unwrap_or_default()));
        Ok(Some(Tokenizer {
            model: model.to_owned(),
            pre,
            words,
            specials,
            pieces,
            controls: vocabulary.controls(),
            bos: vocabulary.bos,
            eos: vocabulary.eos,
            adds_bos: vocabulary.adds_bos,
            adds_eos: vocabulary.adds_eos,
            pads,
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
        let parts = match &self.words {
            Words::Json(json) => {
                json.encode(text, how.special, &mut ids)?;
                Vec::new()
            }
            Words::Bpe(_) | Words::Spm(_) => self.specials.split(text, how.special),
        };
        for part in parts {
            match (part, &self.words) {
                (Part::Token(id), _) => ids.push(id),
                (Part::Text(text), Words::Bpe(bpe)) => bpe.encode(text, &mut ids)?,
                (Part::Text(text), Words::Spm(spm)) => spm.encode(text, self.pads, &mut ids)?,
                (Part::Text(_), Words::Json(_)) => {}
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

    /// The text of a control token, such as `<|im_end|>`, which prints nothing otherwise.
    pub fn control_text(&self, id: u32) -> Option<&str> {
        self.controls.get(&id).map(|text| &**text)
    }

    /// The control token with this text.
    pub fn control_token(&self, text: &str) -> Option<u32> {
        self.controls.iter().find(|(_, control)| &***control == text).map(|(&id, _)| id)
    }

    /// Whether [`Encode::bos`] adds BOS.
    pub fn adds_bos(&self) -> bool {
        self.adds_bos
    }

    /// Whether a prompt gets EOS behind, where nothing else is asked for.
    pub fn adds_eos(&self) -> bool {
        self.adds_eos
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

    /// What a token prints: bytes, which may end within a character. Control tokens print nothing.
    pub fn piece(&self, id: u32) -> &[u8] {
        match self.pieces.get(id as usize) {
            Some(piece) => piece,
            None => "\u{FFFD}".as_bytes(),
        }
    }
}

/// A string for which any will do: what is not UTF-8 is shown, what is no string is none.
fn text(meta: &Metadata, key: &str) -> Option<String> {
    match meta.get(key)? {
        Value::Str(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        _ => None,
    }
}

/// What white space special tokens swallow. GGUF has no key for that; llama.cpp goes by names, and so must a reader of
/// the same files: Phi-3's swallow what is behind them, except for its three oldest; masks of encoders what is before
/// them.
fn strips(pre: &str, name: &str) -> impl Fn(&str) -> Strips {
    let name = name.to_lowercase();
    let phi3 = name.contains("phi-3") || name.contains("phi3");
    let mask = match pre {
        "jina-v2-es" | "jina-v2-de" => Some("<mask>"),
        _ if name.contains("modern-bert") => Some("[MASK]"),
        _ => None,
    };
    move |text| Strips {
        left: mask == Some(text),
        right: phi3 && !["<unk>", "<s>", "<|endoftext|>"].contains(&text),
    }
}
