//! A `tokenizer.json` of Hugging Face: what a model without GGUF metadata has, and what may stand in for a file's own
//! tokenizer. The encoding is the `tokenizers` crate's; which tokens begin and end a text is asked of the caller, of
//! `tokenizer_config.json` beside the file, and of the file itself, in this order.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use super::special::{Specials, Strips};
use super::vocabulary::{Kind, Vocabulary};
use super::{Tokenizer, Words, bpe, spm, trust};
use crate::error::{Error, Result};
use crate::gguf::Metadata;

/// Ids at most: there is a text for each, also for those that no token has.
const MOST_TOKENS: usize = 1 << 22;

/// What begins and ends a text, as far as it is known from elsewhere than the `tokenizer.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roles {
    /// The token that begins a text.
    pub bos: Option<u32>,
    /// The tokens that end a generation; the first is EOS.
    pub eos: Vec<u32>,
    /// Whether a prompt gets BOS in front.
    pub adds_bos: Option<bool>,
    /// Whether a prompt gets EOS behind.
    pub adds_eos: Option<bool>,
}

/// The crate's tokenizer. Whether it recognises special tokens is a switch on it, hence the lock.
pub(super) struct Json(Mutex<tokenizers::Tokenizer>);

impl Roles {
    /// What the metadata of a GGUF file say, so that another tokenizer keeps the file's roles.
    pub fn from_metadata(meta: &Metadata) -> Result<Roles> {
        let id = |key: &str| meta.u32(&format!("tokenizer.ggml.{key}_token_id"));
        let mut eos: Vec<u32> = Vec::new();
        for key in ["eos", "eot", "eom"] {
            eos.extend(id(key)?);
        }
        Ok(Roles {
            bos: id("bos")?,
            eos,
            adds_bos: meta.bool("tokenizer.ggml.add_bos_token")?,
            adds_eos: meta.bool("tokenizer.ggml.add_eos_token")?,
        })
    }
}

impl Json {
    /// Appends the ids of a text, nothing added.
    pub fn encode(&self, text: &str, special: bool, ids: &mut Vec<u32>) -> Result<()> {
        // The switch is set each time: a panic of another thread leaves nothing half done.
        let mut tokenizer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tokenizer.set_encode_special_tokens(!special);
        let encoding = tokenizer.encode_fast(text, false).map_err(|error| Error::Other(error.to_string()))?;
        ids.extend_from_slice(encoding.get_ids());
        Ok(())
    }
}

impl std::fmt::Debug for Json {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Json").finish_non_exhaustive()
    }
}

impl Tokenizer {
    /// The tokenizer of a `tokenizer.json`; `vocab` is the number of tokens that the model knows.
    ///
    /// # Errors
    /// [`Error::Model`] names the file and what in it is missing, damaged or not understood, or an id beyond `vocab`.
    pub fn from_json(path: &Path, roles: &Roles, vocab: Option<usize>) -> Result<Tokenizer> {
        let read = |path: &Path| {
            std::fs::read(path)
                .map_err(|error| Error::Model(format!("{}: cannot be read: {error}", path.display())))
        };
        let bytes = read(path)?;
        let beside = path.with_file_name("tokenizer_config.json");
        let config: Value = match beside.is_file() {
            true => serde_json::from_slice(&read(&beside)?)
                .map_err(|error| Error::Model(format!("{}: not JSON: {error}", beside.display())))?,
            false => Value::Null,
        };
        Tokenizer::from_json_text(&bytes, &config, &path.display().to_string(), roles, vocab)
    }

    /// The same of a text, with the `tokenizer_config.json` that belongs to it, or null; `name` is what messages call it.
    ///
    /// # Errors
    /// As [`Tokenizer::from_json`].
    pub fn from_json_text(
        bytes: &[u8],
        config: &Value,
        name: &str,
        roles: &Roles,
        vocab: Option<usize>,
    ) -> Result<Tokenizer> {
        let bad = |what: String| Error::Model(format!("{name}: {what}"));
        let mut json: Value =
            serde_json::from_slice(bytes).map_err(|error| bad(format!("not JSON: {error}")))?;
        let read = |bytes: &[u8]| -> Result<tokenizers::Tokenizer> {
            let mut inner = tokenizers::Tokenizer::from_bytes(bytes)
                .map_err(|error| bad(format!("not a tokenizer that is understood: {error}")))?;
            // A prompt is neither cut off nor filled up, whatever the file says of training.
            inner.with_truncation(None).map_err(|error| bad(error.to_string()))?.with_padding(None);
            Ok(inner)
        };
        trust::check(&json).map_err(&bad)?;
        // What was looked at is what is read: of members of one name the last.
        let mut inner = read(json.to_string().as_bytes())?;

        let all: HashMap<String, u32> = inner.get_vocab(true);
        let count = all.values().max().map_or(0, |&last| last as usize + 1);
        if count > MOST_TOKENS {
            return Err(bad(format!("it has an id of {}, {MOST_TOKENS} are the most", count - 1)));
        }
        let added = inner.get_added_tokens_decoder();
        let mut texts = vec![String::new(); count];
        let mut kinds = vec![Kind::Unused; count];
        let decoder = Decoder::of(&json["decoder"]).ok_or_else(|| {
            bad("its decoder is none of ByteLevel, Metaspace, ByteFallback, Replace: tokens cannot be printed".into())
        })?;
        for (text, &id) in &all {
            kinds[id as usize] = match added.get(&id) {
                Some(token) if token.special => Kind::Control,
                Some(_) => Kind::UserDefined,
                None if decoder == Decoder::Spaces && super::vocabulary::byte(text.as_bytes()).is_some() => {
                    Kind::Byte
                }
                None => Kind::Normal,
            };
            texts[id as usize].clone_from(text);
        }
        if let Some(vocab) = vocab.filter(|&vocab| !fits(count, vocab)) {
            return Err(bad(format!(
                "it has {count} tokens, but the model knows {vocab}: it is the tokenizer of another model"
            )));
        }

        let template = inner.encode_fast("", true).map_err(|error| bad(error.to_string()))?;
        let template = template.get_ids();
        let named = |key: &str| {
            let text = config[key].as_str().or_else(|| config[key]["content"].as_str())?;
            inner.token_to_id(text)
        };
        let eos = roles.eos.first().copied().or_else(|| named("eos_token")).or(template.get(1).copied());
        let bos = roles.bos.or_else(|| named("bos_token"));
        let bos = bos.or(template.first().copied().filter(|&id| eos != Some(id)));
        let begins = bos.is_some() && template.first().copied() == bos;
        let ends = eos.is_some() && template.last().copied() == eos && template.len() > usize::from(begins);
        let adds_bos = roles.adds_bos.or_else(|| config["add_bos_token"].as_bool()).unwrap_or(begins);
        let adds_eos = roles.adds_eos.or_else(|| config["add_eos_token"].as_bool()).unwrap_or(ends);
        if let Some(id) =
            roles.bos.iter().chain(&roles.eos).find(|&&id| id as usize >= count.max(vocab.unwrap_or(0)))
        {
            return Err(bad(format!(
                "the model's special token {id} is beyond the {count} tokens of the file"
            )));
        }
        let texts: Vec<&[u8]> = texts.iter().map(|text| text.as_bytes()).collect();
        let ids = texts.iter().copied().zip(0..).filter(|(text, _)| !text.is_empty()).collect();
        let mut vocabulary = Vocabulary {
            texts,
            kinds,
            ids,
            bos,
            eos,
            unknown: None,
            adds_bos: adds_bos && bos.is_some(),
            adds_eos: adds_eos && eos.is_some(),
            ends: BTreeSet::from_iter(roles.eos.iter().copied()),
        };
        vocabulary.find_ends(|_| Ok(None))?;
        let is_control = |id: u32| vocabulary.kinds[id as usize] == Kind::Control;
        let strips: HashMap<&str, Strips> = added
            .values()
            .map(|token| (&*token.content, Strips { left: token.lstrip, right: token.rstrip }))
            .collect();
        let specials = Specials::controls(&vocabulary, |text| strips.get(text).copied().unwrap_or_default());
        // What people write never becomes a control token, also where the file calls it an ordinary one.
        if added.iter().any(|(&id, token)| !token.special && is_control(id)) {
            for token in json["added_tokens"].as_array_mut().into_iter().flatten() {
                let id = token["id"].as_u64().and_then(|id| u32::try_from(id).ok());
                if id.is_some_and(|id| (id as usize) < count && is_control(id)) {
                    token["special"] = true.into();
                }
            }
            inner = read(json.to_string().as_bytes())?;
        }
        let mut pieces = vocabulary.pieces(|text| match decoder {
            Decoder::Bytes => bpe::piece(text),
            Decoder::Spaces => spm::piece(text),
        })?;
        // Gemma's runs of spaces are tokens that were added.
        for ((piece, text), kind) in pieces.iter_mut().zip(&vocabulary.texts).zip(&vocabulary.kinds) {
            if *kind == Kind::UserDefined && decoder == Decoder::Spaces {
                *piece = spm::piece(text).into();
            }
        }
        let mut tokenizer = Tokenizer {
            model: "json".into(),
            pre: Path::new(name).file_name().unwrap_or_default().to_string_lossy().into_owned(),
            words: Words::Json(Box::new(Json(Mutex::new(inner)))),
            specials,
            pieces,
            controls: vocabulary.controls(),
            bos,
            eos,
            adds_bos: vocabulary.adds_bos,
            adds_eos: vocabulary.adds_eos,
            pads: false,
            ends: vocabulary.ends,
            warnings: Vec::new(),
        };
        // Whether a space is put in front is told by trying: files have four ways to ask for it.
        let tried = tokenizer.encode("a", super::Encode::default())?;
        tokenizer.pads = tokenizer.decode(&tried) == " a";
        Ok(tokenizer)
    }
}

/// Whether a tokenizer of `count` tokens may be that of a model which knows `vocab`: tables of embeddings are rounded up, by up to
/// 2 % in models that are known, and the ids behind the last token stand for no text.
fn fits(count: usize, vocab: usize) -> bool {
    count <= vocab && vocab - count <= (vocab / 16).max(1024)
}

/// How the texts of tokens become bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Decoder {
    /// Each byte is a letter.
    Bytes,
    /// A space is U+2581, and there may be tokens such as `<0x0A>`.
    Spaces,
}

impl Decoder {
    /// Finds what it knows in a decoder and in the decoders of a sequence.
    fn of(json: &Value) -> Option<Decoder> {
        match json["type"].as_str()? {
            "ByteLevel" => Some(Decoder::Bytes),
            "Metaspace" | "ByteFallback" | "Replace" => Some(Decoder::Spaces),
            "Sequence" => json["decoders"].as_array()?.iter().find_map(Decoder::of),
            _ => None,
        }
    }
}
