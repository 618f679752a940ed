//! Small vocabularies written by hand: each shows one rule, or one fault that is refused.

use std::collections::BTreeMap;
use std::fs;

use Key::{Bool, F32s, I32s, Raw, Raws, Text, Texts, U32};
use libtest_mimic::{Failed, Trial};
use wgllm::gguf::Gguf;
use wgllm::tokenizer::{Encode, Tokenizer};

use super::{Outcome, PROMPT, TEMPLATE, USER, same};

/// The keys of a file, each under `tokenizer.ggml.` unless its name says otherwise.
pub type Keys = BTreeMap<&'static str, Key>;

#[derive(Clone)]
pub enum Key {
    Text(&'static str),
    /// A string that need not be UTF-8.
    Raw(&'static [u8]),
    Bool(bool),
    U32(u32),
    F32s(Vec<f32>),
    I32s(Vec<i32>),
    Texts(Vec<String>),
    Raws(Vec<Vec<u8>>),
}

pub const NORMAL: i32 = 1;
pub const CONTROL: i32 = 3;
pub const USER_DEFINED: i32 = 4;

/// Ids of a `llama` vocabulary: 0 `<unk>`, 1 `<s>`, 2 `</s>`, 3 to 258 bytes, then these tokens.
pub fn llama(tokens: &[(&str, f32, i32)]) -> Keys {
    let mut texts: Vec<String> = ["<unk>", "<s>", "</s>"].map(String::from).into();
    texts.extend((0..=255).map(|byte| format!("<0x{byte:02X}>")));
    let mut kinds = vec![2, CONTROL, CONTROL];
    kinds.resize(texts.len(), 6);
    let mut scores = vec![0.0; texts.len()];
    for &(text, score, kind) in tokens {
        texts.push(text.into());
        scores.push(score);
        kinds.push(kind);
    }
    Keys::from([
        ("model", Text("llama")),
        ("tokens", Texts(texts)),
        ("scores", F32s(scores)),
        ("token_type", I32s(kinds)),
    ])
}

/// Ids of a `gpt2` vocabulary: 0 to 255 bytes by value, then what the merges make, then these tokens.
pub fn gpt2(merges: &[&str], tokens: &[(&str, i32)]) -> Keys {
    let mut hidden = '\u{100}'..;
    let visible = |byte: u8| byte.is_ascii_graphic() || (byte > 0xA0 && byte != 0xAD);
    let mut letter = |byte| if visible(byte) { Some(char::from(byte)) } else { hidden.next() };
    let mut texts: Vec<String> = (0..=255).filter_map(|byte| letter(byte).map(String::from)).collect();
    texts.extend(merges.iter().map(|merge| merge.replace(' ', "")));
    let mut kinds = vec![NORMAL; texts.len()];
    for &(text, kind) in tokens {
        texts.push(text.into());
        kinds.push(kind);
    }
    Keys::from([
        ("model", Text("gpt2")),
        ("pre", Text("gpt-2")),
        ("tokens", Texts(texts)),
        ("token_type", I32s(kinds)),
        ("merges", Texts(merges.iter().copied().map(String::from).collect())),
    ])
}

pub fn with(mut keys: Keys, more: &[(&'static str, Key)]) -> Keys {
    keys.extend(more.iter().cloned());
    keys
}

pub fn without(mut keys: Keys, name: &str) -> Keys {
    keys.remove(name);
    keys
}

pub fn open(keys: &Keys) -> Result<Option<Tokenizer>, Failed> {
    let mut bytes = Vec::from(b"GGUF\x03\0\0\0\0\0\0\0\0\0\0\0");
    let text = |bytes: &mut Vec<u8>, text: &[u8]| {
        bytes.extend((text.len() as u64).to_le_bytes());
        bytes.extend(text);
    };
    let array = |bytes: &mut Vec<u8>, element: u32, len: usize| {
        bytes.extend([9, element].map(u32::to_le_bytes).concat());
        bytes.extend((len as u64).to_le_bytes());
    };
    bytes.extend((keys.len() as u64).to_le_bytes());
    for (&name, key) in keys {
        let full = if name.contains('.') { name.to_owned() } else { format!("tokenizer.ggml.{name}") };
        text(&mut bytes, full.as_bytes());
        match key {
            Text(value) => {
                bytes.extend(8u32.to_le_bytes());
                text(&mut bytes, value.as_bytes());
            }
            Raw(value) => {
                bytes.extend(8u32.to_le_bytes());
                text(&mut bytes, value);
            }
            Bool(value) => bytes.extend([7, 0, 0, 0, u8::from(*value)]),
            U32(value) => bytes.extend([4, *value].map(u32::to_le_bytes).concat()),
            F32s(values) => {
                array(&mut bytes, 6, values.len());
                bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
            }
            I32s(values) => {
                array(&mut bytes, 5, values.len());
                bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
            }
            Texts(values) => {
                array(&mut bytes, 8, values.len());
                values.iter().for_each(|value| text(&mut bytes, value.as_bytes()));
            }
            Raws(values) => {
                array(&mut bytes, 8, values.len());
                values.iter().for_each(|value| text(&mut bytes, value));
            }
        }
    }
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("vocabulary.gguf");
    fs::write(&file, bytes)?;
    Ok(Tokenizer::from_metadata(Gguf::open(&file)?.metadata())?)
}

/// One rule each: the vocabulary, a text, how to encode it, the ids.
fn rules() -> Vec<(&'static str, Keys, &'static str, Encode, Vec<u32>)> {
    let plain = Bool(false);
    let no_space = |keys| with(keys, &[("add_space_prefix", plain.clone())]);
    let abc = || {
        no_space(llama(&[
            ("a", -9.0, NORMAL),
            ("b", -9.0, NORMAL),
            ("ab", -2.0, NORMAL),
            ("ba", -1.0, NORMAL),
        ]))
    };
    let runs = |kind| no_space(llama(&[("a", -3.0, NORMAL), ("aa", -2.0, NORMAL), ("aaa", -1.0, kind)]));
    let padded = || llama(&[("▁", -3.0, NORMAL), ("▁a", -2.0, NORMAL), ("a", -4.0, NORMAL)]);
    let words = || {
        gpt2(
            &["a b", "ab c", "Ġ a"],
            &[
                ("abcd", NORMAL),
                ("<|x|>", CONTROL),
                ("<u>", USER_DEFINED),
                ("<u>>", USER_DEFINED),
                ("<u=u>", USER_DEFINED),
            ],
        )
    };
    let llama3 =
        |keys| with(keys, &[("pre", Text("llama3")), ("bos_token_id", U32(7)), ("eos_token_id", U32(8))]);
    let phi3 = || {
        with(llama(&[("▁", -1.0, NORMAL), ("<|e|>", 0.0, CONTROL)]), &[("general.name", Text("Phi-3 mini"))])
    };
    vec![
        ("spm: the best score merges first", abc(), "aba", USER, vec![259, 262]),
        ("spm: of equal scores the leftmost merges first", runs(NORMAL), "aaaa", USER, vec![261, 259]),
        ("spm: a user's text never becomes a control token", runs(CONTROL), "aaaa", USER, vec![260, 260]),
        ("spm: special parsing finds control tokens", runs(CONTROL), "aaaa", TEMPLATE, vec![1, 261, 259]),
        ("spm: what is no token becomes bytes", abc(), "é", USER, vec![3 + 0xC3, 3 + 0xA9]),
        ("spm: a space goes in front of a text", padded(), "a a", USER, vec![260, 260]),
        ("spm: and of a text behind a special token", padded(), "a</s>a", TEMPLATE, vec![1, 260, 2, 260]),
        ("spm: nothing goes in front of no text", padded(), "", USER, vec![]),
        (
            "spm: BOS is added unless the file says no",
            with(padded(), &[("add_bos_token", plain.clone())]),
            "a",
            PROMPT,
            vec![260],
        ),
        (
            "spm: EOS is added if the file says so",
            with(padded(), &[("add_eos_token", Bool(true))]),
            "a",
            PROMPT,
            vec![1, 260, 2],
        ),
        (
            "spm: special tokens of Phi-3 swallow white space",
            phi3(),
            "<|e|> \n<|e|> ",
            TEMPLATE,
            vec![1, 260, 260],
        ),
        ("bpe: merges apply by rank within a word", words(), "abc abab", USER, vec![257, 32, 256, 256]),
        ("bpe: the merges rule, not the vocabulary", words(), "abcd", USER, vec![257, 100]),
        ("bpe: llama3 takes a word that is a token whole", llama3(words()), "abcd", PROMPT, vec![7, 259]),
        (
            "bpe: control tokens are text for users",
            words(),
            "<|x|>",
            USER,
            "<|x|>".bytes().map(u32::from).collect(),
        ),
        ("bpe: control tokens are tokens for templates", words(), "a<|x|>a", TEMPLATE, vec![97, 260, 97]),
        ("bpe: user-defined tokens are found in any text", words(), "a<u>a", USER, vec![97, 261, 97]),
        ("bpe: the longer special token wins", words(), "<u>><u>", USER, vec![262, 261]),
    ]
}

/// Files that are refused, and what the error must name.
fn refused() -> Vec<(&'static str, Keys, &'static [&'static str])> {
    let spm = || llama(&[("a", -1.0, NORMAL)]);
    let bpe = || gpt2(&["a b"], &[]);
    let texts = |texts: &[&str]| Texts(texts.iter().copied().map(String::from).collect());
    vec![
        (
            "an unknown model",
            Keys::from([("model", Text("bert")), ("tokens", texts(&["a"]))]),
            &["model", "bert", "gpt2", "llama"],
        ),
        ("tokens of no model", without(spm(), "model"), &["tokenizer.ggml.model"]),
        ("no tokens", without(spm(), "tokens"), &["tokenizer.ggml.tokens"]),
        (
            "an unknown pre-tokenizer",
            with(bpe(), &[("pre", Text("martian"))]),
            &["tokenizer.ggml.pre", "martian", "llama-bpe", "qwen2", "gpt-2", "default"],
        ),
        (
            "too few scores",
            with(spm(), &[("scores", F32s(vec![0.0; 3]))]),
            &["tokenizer.ggml.scores", "3", "260"],
        ),
        (
            "a score that is no number",
            with(spm(), &[("scores", F32s(vec![f32::NAN; 260]))]),
            &["tokenizer.ggml.scores[0]"],
        ),
        (
            "too few kinds",
            with(bpe(), &[("token_type", I32s(vec![1; 9]))]),
            &["tokenizer.ggml.token_type", "9", "257"],
        ),
        (
            "an unknown kind",
            with(bpe(), &[("token_type", I32s(vec![7; 257]))]),
            &["tokenizer.ggml.token_type[0]", "7"],
        ),
        (
            "a byte token that is no byte",
            with(bpe(), &[("token_type", I32s(vec![6; 257]))]),
            &["tokenizer.ggml.tokens[0]"],
        ),
        (
            "two tokens with one text",
            gpt2(&[], &[("<x>", NORMAL), ("<x>", NORMAL)]),
            &["tokenizer.ggml.tokens[257]", "<x>", "256"],
        ),
        ("no merges", without(bpe(), "merges"), &["tokenizer.ggml.merges"]),
        (
            "a merge of one token",
            with(bpe(), &[("merges", texts(&["ab"]))]),
            &["tokenizer.ggml.merges[0]", "ab"],
        ),
        (
            "a merge of an unknown token",
            with(bpe(), &[("merges", texts(&["a b", "é b"]))]),
            &["tokenizer.ggml.merges[1]", "é b"],
        ),
        (
            "a merge that makes no token",
            with(bpe(), &[("merges", texts(&["a c"]))]),
            &["tokenizer.ggml.merges[0]", "a c"],
        ),
        (
            "an EOS beyond the vocabulary",
            with(bpe(), &[("eos_token_id", U32(257))]),
            &["tokenizer.ggml.eos_token_id", "257"],
        ),
        (
            "an EOT beyond the vocabulary",
            with(bpe(), &[("eot_token_id", U32(9999))]),
            &["tokenizer.ggml.eot_token_id", "9999"],
        ),
        (
            "a BOS to add that is not there",
            with(bpe(), &[("add_bos_token", Bool(true))]),
            &["tokenizer.ggml.bos_token_id"],
        ),
    ]
}

type Fact = (&'static str, fn() -> Outcome);

/// Every rule, refusal and fact.
pub fn trials() -> Vec<Trial> {
    let mut trials: Vec<Trial> = Vec::new();
    for (name, keys, text, how, ids) in rules() {
        trials.push(Trial::test(name, move || {
            let tokenizer = open(&keys)?.ok_or("no tokenizer")?;
            same(text, tokenizer.encode(text, how)?, ids)
        }));
    }
    for (name, keys, names) in refused() {
        trials.push(Trial::test(format!("refused: {name}"), move || match open(&keys) {
            Ok(_) => Err("accepted".into()),
            Err(error) => {
                let what = error.message().unwrap_or_default().to_owned();
                let missing = names.iter().find(|name| !what.contains(**name));
                missing.map_or(Ok(()), |name| Err(format!("{what:?} does not name {name:?}").into()))
            }
        }));
    }
    let asserts: [Fact; 7] = [
        ("a file without a tokenizer has none", none_is_none),
        ("a missing pre-tokenizer is default and warned of", missing_pre_is_visible),
        ("generation ends at tokens by id and by text", ends_by_id_and_text),
        ("a comma is not the default end of a text", ordinary_tokens_are_no_default),
        ("streaming keeps spaces and waits for whole characters", streaming_waits),
        ("broken UTF-8 and unknown ids print U+FFFD", broken_text_is_marked),
        ("a byte without a token is an error", missing_bytes_are_errors),
    ];
    trials.extend(asserts.map(|(name, fact)| Trial::test(name, fact)));
    trials
}

fn none_is_none() -> Outcome {
    for keys in
        [Keys::new(), Keys::from([("model", Text("none"))]), Keys::from([("model", Text("no_vocab"))])]
    {
        same("has a tokenizer", open(&keys)?.is_some(), false)?;
    }
    Ok(())
}

fn missing_pre_is_visible() -> Outcome {
    let stated = open(&with(gpt2(&[], &[]), &[("pre", Text("default"))]))?.ok_or("none")?;
    same("warnings", stated.warnings(), &[])?;
    let silent = open(&without(gpt2(&["1 1", "! '"], &[]), "pre"))?.ok_or("none")?;
    same("pre", silent.pre(), "default")?;
    same("the warning names the key", silent.warnings().concat().contains("tokenizer.ggml.pre"), true)?;
    // Digits come in threes, punctuation in runs.
    same("1111!'", silent.encode("1111!'", USER)?, vec![256, 49, 49, 257])
}

fn ends_by_id_and_text() -> Outcome {
    let tokens = [
        ("<|im_end|>", NORMAL),
        ("<|fim_pad|>", CONTROL),
        ("<|end|>", CONTROL),
        ("<x>", CONTROL),
        ("<y>", CONTROL),
    ];
    let keys = with(gpt2(&[], &tokens), &[("eos_token_id", U32(259)), ("eot_token_id", U32(260))]);
    let tokenizer = open(&keys)?.ok_or("none")?;
    same("ends", tokenizer.end_tokens().iter().copied().collect::<Vec<_>>(), (256..=260).collect())?;
    same("an end found by its text is a control token", tokenizer.decode(&[256]), String::new())?;
    let harmony = gpt2(&[], &[("<|end|>", CONTROL), ("<|return|>", CONTROL), ("<|call|>", CONTROL)]);
    let tokenizer = open(&harmony)?.ok_or("none")?;
    same("harmony's ends", tokenizer.end_tokens().iter().copied().collect::<Vec<_>>(), vec![257, 258])
}

fn ordinary_tokens_are_no_default() -> Outcome {
    let tokenizer = open(&gpt2(&[], &[]))?.ok_or("none")?;
    same(
        "gpt2 without keys: BOS, EOS, ends",
        (tokenizer.bos(), tokenizer.eos(), tokenizer.end_tokens().len()),
        (None, None, 0),
    )?;
    let tokenizer = open(&llama(&[]))?.ok_or("none")?;
    same(
        "llama without keys: BOS, EOS, adds BOS",
        (tokenizer.bos(), tokenizer.eos(), tokenizer.adds_bos()),
        (Some(1), Some(2), true),
    )
}

fn streaming_waits() -> Outcome {
    let tokenizer = open(&llama(&[("▁a", -1.0, NORMAL)]))?.ok_or("none")?;
    let byte = |byte: u32| 3 + byte;
    let mut stream = tokenizer.stream();
    let parts =
        [259, byte(0xF0), byte(0x9F), 2, byte(0x9A), byte(0x80), byte(0x0A), byte(0xC3), 259, byte(0xE2)];
    let parts = parts.map(|id| stream.push(id));
    same("parts", parts, [" a", "", "", "", "", "🚀", "\n", "", "\u{FFFD} a", ""].map(String::from))?;
    same("rest", stream.finish(), "\u{FFFD}".to_owned())
}

fn broken_text_is_marked() -> Outcome {
    let tokenizer = open(&llama(&[("▁a", -1.0, NORMAL)]))?.ok_or("none")?;
    same(
        "bytes of half a character",
        tokenizer.decode(&[1, 259, 3 + 0xF0, 3 + 0x9F, 259]),
        "a\u{FFFD} a".to_owned(),
    )?;
    same(
        "an id beyond the vocabulary",
        tokenizer.decode(&[259, 260, u32::MAX]),
        "a\u{FFFD}\u{FFFD}".to_owned(),
    )
}

fn missing_bytes_are_errors() -> Outcome {
    let keys = with(
        gpt2(&[], &[]),
        &[("tokens", Texts(vec!["a".into()])), ("token_type", I32s(vec![NORMAL])), ("merges", Texts(vec![]))],
    );
    let tokenizer = open(&keys)?.ok_or("none")?;
    same("a", tokenizer.encode("a", USER)?, vec![0])?;
    let error = tokenizer.encode("ab", USER).map_err(|error| error.to_string());
    same("the error names the byte", error.is_err_and(|what| what.contains("0x62")), true)
}
