//! The vocabulary as the file states it: texts, kinds, special ids; checked, so that the rest can rely on it.
//!
//! Keys and defaults are llama.cpp's (`llama_vocab::impl::load`). Merges and scores are read where they are
//! used.

use std::collections::{BTreeMap, BTreeSet, HashMap};

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
    pub bos: Option<u32>,
    pub eos: Option<u32>,
    pub unknown: Option<u32>,
    pub adds_bos: bool,
    /// Whether it adds BOS even where the file says no.
    pub insists_on_bos: bool,
    /// Whether `bos` and `eos` hold for ordinary tokens too. Token 11 is Falcon's end of text, but GPT-2's
    /// comma.
    pub any_kind: bool,
}

/// Defaults of `llama` vocabularies.
pub(super) const SPM: Defaults = Defaults {
    bos: Some(1),
    eos: Some(2),
    unknown: Some(0),
    adds_bos: true,
    insists_on_bos: false,
    any_kind: true,
};
/// Defaults of `gpt2` vocabularies; the pre-tokenizer may change whether BOS is added.
pub(super) const BPE: Defaults = Defaults {
    bos: Some(11),
    eos: Some(11),
    unknown: None,
    adds_bos: false,
    insists_on_bos: false,
    any_kind: false,
};
/// Defaults of `gemma4` vocabularies, whose files name their tokens.
pub(super) const GEMMA4: Defaults = Defaults { bos: None, eos: None, ..BPE };

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
        &[
            "<|fim_prefix|>",
            "<fim-prefix>",
            "<fim_prefix>",
            "<｜fim▁begin｜>",
            "<PRE>",
            "▁<PRE>",
            "<|code_prefix|>",
            "<|prefix|>",
        ],
        false,
    ),
    (
        "fim_suf_token_id",
        &[
            "<|fim_suffix|>",
            "<fim-suffix>",
            "<fim_suffix>",
            "<｜fim▁hole｜>",
            "<SUF>",
            "▁<SUF>",
            "<|code_suffix|>",
            "<|suffix|>",
        ],
        false,
    ),
    (
        "fim_mid_token_id",
        &[
            "<|fim_middle|>",
            "<fim-middle>",
            "<fim_middle>",
            "<｜fim▁end｜>",
            "<MID>",
            "▁<MID>",
            "<|code_middle|>",
            "<|middle|>",
        ],
        false,
    ),
    ("fim_pad_token_id", &["<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"], true),
    ("fim_rep_token_id", &["<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"], true),
    ("fim_sep_token_id", &["<|file_sep|>"], true),
];

/// The token of each byte that has one.
pub(super) type Bytes = Box<[Option<u32>; 256]>;

/// Texts, kinds and special ids. Texts are borrowed from the file; they need not be UTF-8.
pub(super) struct Vocabulary<'a> {
    /// The text of each id.
    pub texts: Vec<&'a [u8]>,
    /// The kind of each id.
    pub kinds: Vec<Kind>,
    /// The id of each text that is not empty.
    pub ids: HashMap<&'a [u8], u32>,
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
        let count = texts.len();
        let ids = ids(&texts)?;
        let bos = id(meta, "bos_token_id", count)?;
        let eos = id(meta, "eos_token_id", count)?;
        // A vocabulary that cannot become "unknown" does not mind what the key says.
        let unknown = match defaults.unknown {
            Some(default) => id(meta, "unknown_token_id", count)?.or(Some(default)),
            None => id(meta, "unknown_token_id", count).unwrap_or(None),
        };
        let kinds = match kinds(meta, count)? {
            Some(kinds) => kinds,
            None => {
                warnings.push(
                    "tokenizer.ggml.token_type is missing: what tokens are is told by their texts".into(),
                );
                guess(&texts, &[bos.or(defaults.bos), eos.or(defaults.eos)], unknown, defaults.any_kind)
            }
        };
        let default = |id: Option<u32>| {
            let kind = id.and_then(|id| kinds.get(id as usize));
            id.filter(|_| kind.is_some_and(|&kind| defaults.any_kind || kind == Kind::Control))
        };
        let (bos, eos) = (bos.or(default(defaults.bos)), eos.or(default(defaults.eos)));
        let unknown = unknown.filter(|&id| (id as usize) < count);
        let stated = meta.bool("tokenizer.ggml.add_bos_token")?;
        let adds_bos = defaults.insists_on_bos || stated.unwrap_or(defaults.adds_bos);
        if stated == Some(false) && adds_bos {
            warnings.push(
                "tokenizer.ggml.add_bos_token is false: it is ignored, since models of this kind need BOS"
                    .into(),
            );
        }
        let adds_eos = meta.bool("tokenizer.ggml.add_eos_token")?.unwrap_or(false);
        for (adds, id, name) in [(adds_bos, bos, "bos"), (adds_eos, eos, "eos")] {
            if adds && id.is_none() {
                return Err(Error::Model(format!(
                    "the tokenizer adds {}, but tokenizer.ggml.{name}_token_id is missing",
                    name.to_uppercase()
                )));
            }
        }
        let mut vocabulary =
            Vocabulary { texts, kinds, ids, bos, eos, unknown, adds_bos, adds_eos, ends: BTreeSet::new() };
        vocabulary.find_ends(|key| match id(meta, key, count) {
            // These cannot change what a text becomes: a wrong one is as good as none.
            Err(error) if key.starts_with("fim_") => {
                warnings.push(format!("{error}: ignored"));
                Ok(None)
            }
            id => id,
        })?;
        Ok(vocabulary)
    }

    /// The id of a text, if it is a token that a user's text may become.
    pub fn text_id(&self, text: &[u8]) -> Option<u32> {
        self.ids.get(text).copied().filter(|&id| self.is_text(id))
    }

    /// Whether a user's text may become this token.
    pub fn is_text(&self, id: u32) -> bool {
        !matches!(self.kinds[id as usize], Kind::Control | Kind::Unknown)
    }

    /// The tokens such as `<0x0A>`.
    pub fn bytes(&self) -> Bytes {
        let token = |byte: usize| {
            let id = self.ids.get(format!("<0x{byte:02X}>").as_bytes()).copied();
            id.filter(|&id| self.kinds[id as usize] == Kind::Byte)
        };
        Box::new(std::array::from_fn(token))
    }

    /// What each token prints, by its kind; `normal` decodes the text of an ordinary token.
    pub fn pieces(&self, normal: impl Fn(&[u8]) -> Vec<u8>) -> Result<Vec<Box<[u8]>>> {
        let piece = |(id, (&text, kind)): (usize, (&&[u8], &Kind))| match kind {
            Kind::Normal => Ok(normal(text).into()),
            Kind::UserDefined => Ok(text.into()),
            Kind::Control | Kind::Unknown | Kind::Unused => Ok([].into()),
            Kind::Byte => match byte(text) {
                Some(byte) => Ok([byte].into()),
                None => Err(Error::Model(format!(
                    "tokenizer.ggml.tokens[{id}] is {}, expected a byte like <0x0A>",
                    shown(text)
                ))),
            },
        };
        self.texts.iter().zip(&self.kinds).enumerate().map(piece).collect()
    }

    /// The texts of the control tokens.
    pub fn controls(&self) -> BTreeMap<u32, Box<str>> {
        let controls =
            self.texts.iter().zip(&self.kinds).zip(0..).filter(|((_, kind), _)| **kind == Kind::Control);
        controls.map(|((text, _), id)| (id, String::from_utf8_lossy(text).into())).collect()
    }

    /// Finds the tokens that end a generation by their texts and by the ids that `stated` gives for a key, and makes
    /// control tokens of those that look like it.
    pub fn find_ends(&mut self, mut stated: impl FnMut(&str) -> Result<Option<u32>>) -> Result<()> {
        for text in ENDS {
            if let Some(&id) = self.ids.get(text.as_bytes()) {
                if *text == "</s>" && self.is_tag(id) {
                    continue;
                }
                self.ends.insert(id);
                self.kinds[id as usize] = Kind::Control;
            }
        }
        for &(key, texts, is_end) in FILL_IN {
            let stated = stated(key)?;
            let found = texts.iter().find_map(|text| self.ids.get(text.as_bytes()).copied());
            let found = found.filter(|_| stated.is_none());
            if let Some(id) = found {
                self.kinds[id as usize] = Kind::Control;
            }
            self.ends.extend(stated.or(found).filter(|_| is_end));
        }
        for key in ["eot_token_id", "eom_token_id"] {
            self.ends.extend(stated(key)?);
        }
        self.ends.extend(self.eos);
        self.keep_what_only_looks_like_an_end();
        Ok(())
    }

    /// Whether a `</s>` is a tag of HTML, as in Gemma's vocabularies up to 3: like `<s>` a text that is found whole, where other
    /// tokens begin and end texts.
    fn is_tag(&self, id: u32) -> bool {
        let is_text = |id: u32| {
            let role = self.bos == Some(id) || self.eos == Some(id) || self.ends.contains(&id);
            self.kinds[id as usize] == Kind::UserDefined && !role
        };
        let opens = self.ids.get("<s>".as_bytes()).is_some_and(|&id| is_text(id));
        opens && is_text(id) && !self.ids.contains_key("<|tool_response>".as_bytes())
    }

    /// In gpt-oss and Solar vocabularies `<|end|>` ends a message, not the generation; in Gemma 4's `</s>` is a tag of
    /// HTML.
    fn keep_what_only_looks_like_an_end(&mut self) {
        let ends = |text: &str| self.ids.get(text.as_bytes()).is_some_and(|id| self.ends.contains(id));
        let harmony = ends("<|return|>") && (ends("<|call|>") || ends("<|calls|>"));
        let solar = ends("<|flush|>") && (ends("<|call|>") || ends("<|calls|>"));
        let gemma = ends("<|tool_response>");
        if let Some(id) = self.ids.get("<|end|>".as_bytes()).filter(|_| harmony || solar) {
            self.ends.remove(id);
        }
        if let Some(&id) = self.ids.get("</s>".as_bytes()).filter(|_| gemma)
            && self.ends.remove(&id)
        {
            self.kinds[id as usize] = Kind::Normal;
        }
    }
}

/// A token's text for people.
pub(super) fn shown(text: &[u8]) -> String {
    match std::str::from_utf8(text) {
        Ok(text) => format!("{text:?}"),
        Err(_) => format!("\"{}\"", text.escape_ascii()),
    }
}

/// The texts of `tokenizer.ggml.tokens`.
fn texts(meta: &Metadata) -> Result<Vec<&[u8]>> {
    let Some(tokens) = meta.strings("tokenizer.ggml.tokens")? else {
        return Err(Error::Model("tokenizer.ggml.tokens is missing".into()));
    };
    if tokens.len() == 0 || u32::try_from(tokens.len()).is_err() {
        return Err(Error::Model(format!("tokenizer.ggml.tokens has {} tokens", tokens.len())));
    }
    Ok(tokens.collect())
}

/// The id of each text. Empty texts have none: they can neither be found nor printed.
fn ids<'a>(texts: &[&'a [u8]]) -> Result<HashMap<&'a [u8], u32>> {
    let mut ids = HashMap::with_capacity(texts.len());
    for (&text, id) in texts.iter().zip(0u32..) {
        if let Some(first) = ids.insert(text, id).filter(|_| !text.is_empty()) {
            return Err(Error::Model(format!(
                "tokenizer.ggml.tokens[{id}] is {}, as is token {first}",
                shown(text)
            )));
        }
    }
    ids.remove(&[][..]);
    Ok(ids)
}

/// The kinds that the file states.
fn kinds(meta: &Metadata, tokens: usize) -> Result<Option<Vec<Kind>>> {
    let Some(mut types) = meta.i32s("tokenizer.ggml.token_type")? else { return Ok(None) };
    if types.len() < tokens {
        return Err(Error::Model(format!(
            "tokenizer.ggml.token_type has {} entries, expected one for each of {tokens} tokens",
            types.len()
        )));
    }
    // Padding behind the vocabulary belongs to no token.
    types.truncate(tokens);
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
    types.into_iter().enumerate().map(kind).collect::<Result<_>>().map(Some)
}

/// Kinds where the file is silent: ordinary text. In `llama` vocabularies what is written like a byte is one, and the
/// special tokens are those of the ids.
fn guess(texts: &[&[u8]], special: &[Option<u32>], unknown: Option<u32>, llama: bool) -> Vec<Kind> {
    let kind = |(&text, id): (&&[u8], u32)| match llama {
        true if unknown == Some(id) => Kind::Unknown,
        true if special.contains(&Some(id)) => Kind::Control,
        true if byte(text).is_some() => Kind::Byte,
        _ => Kind::Normal,
    };
    texts.iter().zip(0..).map(kind).collect()
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
pub(super) fn byte(text: &[u8]) -> Option<u8> {
    let digits = text.strip_prefix(b"<0x")?.strip_suffix(b">")?;
    let digits = std::str::from_utf8(digits).ok().filter(|digits| digits.len() == 2)?;
    u8::from_str_radix(digits, 16).ok()
}
