//! The vocabulary as the file states it: texts, kinds, special ids; checked, so that the rest can rely on it.
//!
//! Keys and defaults are llama.cpp's (`llama_vocab::impl::load`). Merges and scores are read where they are
//! used.

use std::collections::{BTreeSet, HashMap};

use crate::error::{Error, Result};
use crate::gguf::Metadata;

/// What `tokenizer.ggml.token_type` says of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Ordinary text.
    Normal,
    /// Stands for what the vocabulary cannot say.
    Unknown,
    /// Steers the model: never read from a user's text, prints nothing.
    Control,
    /// Ordinary text that is always found whole.
    UserDefined,
    /// Ordinary text that was never trained.
    Unused,
    /// One byte, written `<0x0A>`.
    Byte,
}

/// What holds where the file is silent.
#[derive(Clone, Copy)]
pub(super) struct Defaults {
    pub bos: u32,
    pub eos: u32,
    pub unknown: Option<u32>,
    pub adds_bos: bool,
    /// Whether `bos` and `eos` hold for ordinary tokens too. Token 11 is Falcon's end of text, but GPT-2's
    /// comma.
    pub any_kind: bool,
    /// Whether the vocabulary makes no sense without kinds.
    pub needs_kinds: bool,
}

/// Defaults of `llama` vocabularies.
pub(super) const SPM: Defaults =
    Defaults { bos: 1, eos: 2, unknown: Some(0), adds_bos: true, any_kind: true, needs_kinds: true };
/// Defaults of `gpt2` vocabularies; the pre-tokenizer may change `adds_bos`.
pub(super) const BPE: Defaults =
    Defaults { bos: 11, eos: 11, unknown: None, adds_bos: false, any_kind: false, needs_kinds: false };

/// Tokens that end a generation whatever the keys say. A token with such a text is taken as a control token.
const ENDS: &[&str] = &[
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<eos>",
    "<turn|>",
    "<|tool_response>",
    "<｜end▁of▁sentence｜>",
    "[e~[",
];

/// Tokens for filling in the middle: key, texts that are taken as control tokens without the key, ends a
/// generation.
const FILL_IN: &[(&str, &[&str], bool)] = &[
    (
        "fim_pre_token_id",
        &["<|fim_prefix|>", "<fim-prefix>", "<fim_prefix>", "<｜fim▁begin｜>", "<PRE>", "▁<PRE>"],
        false,
    ),
    (
        "fim_suf_token_id",
        &["<|fim_suffix|>", "<fim-suffix>", "<fim_suffix>", "<｜fim▁hole｜>", "<SUF>", "▁<SUF>"],
        false,
    ),
    (
        "fim_mid_token_id",
        &["<|fim_middle|>", "<fim-middle>", "<fim_middle>", "<｜fim▁end｜>", "<MID>", "▁<MID>"],
        false,
    ),
    ("fim_pad_token_id", &["<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"], true),
    ("fim_rep_token_id", &["<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"], true),
    ("fim_sep_token_id", &["<|file_sep|>"], true),
];

/// Texts, kinds and special ids. Texts are borrowed from the file.
pub(super) struct Vocabulary<'a> {
    /// The text of each id.
    pub texts: Vec<&'a str>,
    /// The kind of each id.
    pub kinds: Vec<Kind>,
    /// The id of each text that is not empty.
    pub ids: HashMap<&'a str, u32>,
    pub bos: Option<u32>,
    pub eos: Option<u32>,
    pub unknown: Option<u32>,
    pub adds_bos: bool,
    pub adds_eos: bool,
    pub ends: BTreeSet<u32>,
}

impl<'a> Vocabulary<'a> {
    /// Reads all keys but the merges and scores.
    pub fn read(meta: &'a Metadata, defaults: Defaults, warnings: &mut Vec<String>) -> Result<Self> {
        let texts = texts(meta)?;
        let ids = ids(&texts)?;
        let mut kinds = kinds(meta, texts.len(), defaults.needs_kinds, warnings)?;
        let ends = ends(meta, &ids, &mut kinds)?;
        let special = |key, default: Option<u32>| {
            let default = default.filter(|&id| {
                kinds.get(id as usize).is_some_and(|&kind| defaults.any_kind || kind == Kind::Control)
            });
            Ok::<_, Error>(id(meta, key, texts.len())?.or(default))
        };
        let bos = special("bos_token_id", Some(defaults.bos))?;
        let eos = special("eos_token_id", Some(defaults.eos))?;
        let unknown = special("unknown_token_id", defaults.unknown)?;
        let adds_bos = meta.bool("tokenizer.ggml.add_bos_token")?.unwrap_or(defaults.adds_bos);
        let adds_eos = meta.bool("tokenizer.ggml.add_eos_token")?.unwrap_or(false);
        for (adds, id, name) in [(adds_bos, bos, "bos"), (adds_eos, eos, "eos")] {
            if adds && id.is_none() {
                return Err(Error::Model(format!(
                    "the tokenizer adds {}, but tokenizer.ggml.{name}_token_id is missing",
                    name.to_uppercase()
                )));
            }
        }
        let mut vocabulary = Vocabulary { texts, kinds, ids, bos, eos, unknown, adds_bos, adds_eos, ends };
        vocabulary.ends.extend(eos);
        vocabulary.keep_harmony_end();
        Ok(vocabulary)
    }

    /// What each token prints, by its kind; `normal` decodes the text of an ordinary token.
    pub fn pieces(&self, normal: fn(&str) -> Vec<u8>) -> Result<Vec<Box<[u8]>>> {
        let piece = |(id, (&text, kind)): (usize, (&&str, &Kind))| match kind {
            Kind::Normal => Ok(normal(text).into()),
            Kind::UserDefined => Ok(text.as_bytes().into()),
            Kind::Control | Kind::Unknown | Kind::Unused => Ok([].into()),
            Kind::Byte => match byte(text) {
                Some(byte) => Ok([byte].into()),
                None => Err(Error::Model(format!(
                    "tokenizer.ggml.tokens[{id}] is {text:?}, expected a byte like <0x0A>"
                ))),
            },
        };
        self.texts.iter().zip(&self.kinds).enumerate().map(piece).collect()
    }

    /// In gpt-oss and Solar vocabularies `<|end|>` ends a message, not the generation.
    fn keep_harmony_end(&mut self) {
        let ends = |text| self.ids.get(text).is_some_and(|id| self.ends.contains(id));
        let harmony = ends("<|return|>") && ends("<|call|>");
        let solar = ends("<|flush|>") && (ends("<|call|>") || ends("<|calls|>"));
        if let Some(id) = self.ids.get("<|end|>").filter(|_| harmony || solar) {
            self.ends.remove(id);
        }
    }
}

/// The texts of `tokenizer.ggml.tokens`.
fn texts(meta: &Metadata) -> Result<Vec<&str>> {
    let Some(tokens) = meta.strings("tokenizer.ggml.tokens")? else {
        return Err(Error::Model("tokenizer.ggml.tokens is missing".into()));
    };
    if tokens.len() == 0 || u32::try_from(tokens.len()).is_err() {
        return Err(Error::Model(format!("tokenizer.ggml.tokens has {} tokens", tokens.len())));
    }
    let text = |(id, bytes)| {
        std::str::from_utf8(bytes).map_err(|_| {
            Error::Model(format!("tokenizer.ggml.tokens[{id}] is not UTF-8: {:?}", bytes.escape_ascii()))
        })
    };
    tokens.enumerate().map(text).collect()
}

/// The id of each text. Empty texts have none: they can neither be found nor printed.
fn ids<'a>(texts: &[&'a str]) -> Result<HashMap<&'a str, u32>> {
    let mut ids = HashMap::with_capacity(texts.len());
    for (&text, id) in texts.iter().zip(0u32..) {
        if let Some(first) = ids.insert(text, id).filter(|_| !text.is_empty()) {
            return Err(Error::Model(format!(
                "tokenizer.ggml.tokens[{id}] is {text:?}, as is token {first}"
            )));
        }
    }
    ids.remove("");
    Ok(ids)
}

fn kinds(meta: &Metadata, tokens: usize, needed: bool, warnings: &mut Vec<String>) -> Result<Vec<Kind>> {
    let Some(types) = meta.i32s("tokenizer.ggml.token_type")? else {
        if needed {
            return Err(Error::Model("tokenizer.ggml.token_type is missing".into()));
        }
        warnings.push("tokenizer.ggml.token_type is missing: every token is taken as ordinary text".into());
        return Ok(vec![Kind::Normal; tokens]);
    };
    if types.len() != tokens {
        return Err(Error::Model(format!(
            "tokenizer.ggml.token_type has {} entries, expected one for each of {tokens} tokens",
            types.len()
        )));
    }
    let kind = |(id, number)| match number {
        1 => Ok(Kind::Normal),
        2 => Ok(Kind::Unknown),
        3 => Ok(Kind::Control),
        4 => Ok(Kind::UserDefined),
        // 0 is "undefined", which llama.cpp prints as nothing too.
        0 | 5 => Ok(Kind::Unused),
        6 => Ok(Kind::Byte),
        _ => Err(Error::Model(format!("tokenizer.ggml.token_type[{id}] is {number}, expected 0 to 6"))),
    };
    types.into_iter().enumerate().map(kind).collect()
}

/// The tokens that end a generation, EOS excepted; makes control tokens of those that look like it.
fn ends(meta: &Metadata, ids: &HashMap<&str, u32>, kinds: &mut [Kind]) -> Result<BTreeSet<u32>> {
    let mut ends: BTreeSet<u32> = ENDS.iter().filter_map(|text| ids.get(text).copied()).collect();
    for &end in &ends {
        kinds[end as usize] = Kind::Control;
    }
    for &(key, texts, is_end) in FILL_IN {
        let stated = id(meta, key, kinds.len())?;
        let found = texts.iter().find_map(|text| ids.get(text).copied()).filter(|_| stated.is_none());
        if let Some(id) = found {
            kinds[id as usize] = Kind::Control;
        }
        ends.extend(stated.or(found).filter(|_| is_end));
    }
    for key in ["eot_token_id", "eom_token_id"] {
        ends.extend(id(meta, key, kinds.len())?);
    }
    Ok(ends)
}

/// The id under `tokenizer.ggml.<key>`, if the file has it.
fn id(meta: &Metadata, key: &str, tokens: usize) -> Result<Option<u32>> {
    let key = format!("tokenizer.ggml.{key}");
    match meta.u32(&key)? {
        Some(id) if id as usize >= tokens => {
            Err(Error::Model(format!("{key} is {id}, but the vocabulary has only {tokens} tokens")))
        }
        id => Ok(id),
    }
}

/// The byte that a text such as `<0x0A>` stands for.
pub(super) fn byte(text: &str) -> Option<u8> {
    let digits = text.strip_prefix("<0x")?.strip_suffix('>')?;
    (digits.len() == 2).then(|| u8::from_str_radix(digits, 16).ok())?
}
