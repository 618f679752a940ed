//! A `tokenizer.json` in place of a file's own tokenizer: the same texts become the same ids.

use std::fs;
use std::path::Path;

use libtest_mimic::{Failed, Trial};
use serde_json::{Map, Value, json};
use wgllm::chat::{ChatTemplate, Message, Options};
use wgllm::gguf::Gguf;
use wgllm::tokenizer::{Roles, Tokenizer};

use super::{Outcome, PROMPT, TEMPLATE, USER, same};

type Fact = (&'static str, fn() -> Outcome);

/// GPT-2's vocabulary as a `tokenizer.json`, and small ones by hand.
pub fn trials(vocabularies: &Path) -> Vec<Trial> {
    let facts: [Fact; 5] = [
        ("json: roles come from the caller, the configuration beside it and the file", roles_in_order),
        ("json: spaces, bytes and special tokens of a SentencePiece vocabulary", sentence_piece),
        ("json: special tokens come from templates, never from people", templates),
        ("json: what is damaged or not understood is named", damage_is_named),
        ("json: the model's vocabulary is large enough or it is refused", vocabularies_fit),
    ];
    let mut trials: Vec<Trial> = facts.map(|(name, fact)| Trial::test(name, fact)).into();
    let gpt2 = vocabularies.join("ggml-vocab-gpt-2.gguf");
    let missing = !gpt2.exists();
    let title = "json: GPT-2's vocabulary gives the ids of its GGUF file";
    let title = if missing { format!("{title} (no fixtures)") } else { title.to_owned() };
    trials.push(Trial::test(title, move || same_as_gguf(&gpt2)).with_ignored_flag(missing));
    trials
}

fn write(json: &Value, config: Option<&Value>) -> Result<tempfile::TempDir, Failed> {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("tokenizer.json"), json.to_string())?;
    if let Some(config) = config {
        fs::write(folder.path().join("tokenizer_config.json"), config.to_string())?;
    }
    Ok(folder)
}

fn open(json: &Value, config: Option<&Value>, roles: &Roles) -> Result<Tokenizer, Failed> {
    let folder = write(json, config)?;
    Ok(Tokenizer::from_json(&folder.path().join("tokenizer.json"), roles, None)?)
}

fn added(id: u32, text: &str, special: bool) -> Value {
    json!({ "id": id, "content": text, "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false, "special": special })
}

/// A file of one model, with an `added_tokens` list, a pre-tokenizer, a normaliser and a decoder.
fn file(model: Value, tokens: Vec<Value>, normalizer: Value, cut: Value, decoder: Value) -> Value {
    json!({ "version": "1.0", "truncation": { "direction": "Right", "max_length": 2,
        "strategy": "LongestFirst", "stride": 0 }, "padding": null, "added_tokens": tokens,
        "normalizer": normalizer, "pre_tokenizer": cut, "post_processor": null, "decoder": decoder,
        "model": model })
}

fn bpe(vocab: Map<String, Value>, merges: &[String], byte_fallback: bool) -> Value {
    json!({ "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
        "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": byte_fallback, "vocab": vocab,
        "merges": merges })
}

fn byte_level() -> Value {
    json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true })
}

fn same_as_gguf(path: &Path) -> Outcome {
    let gguf = Gguf::open(path)?;
    let meta = gguf.metadata();
    let own = Tokenizer::from_metadata(meta)?.ok_or("no tokenizer")?;
    let strings = |key: &str| -> Result<Vec<String>, Failed> {
        let strings = meta.strings(key)?.ok_or("no such key")?;
        Ok(strings.map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect())
    };
    let texts = strings("tokenizer.ggml.tokens")?;
    let vocab = texts.iter().zip(0u32..).map(|(text, id)| (text.clone(), id.into())).collect();
    let end = added(50256, "<|endoftext|>", true);
    let model = bpe(vocab, &strings("tokenizer.ggml.merges")?, false);
    let json = file(model, vec![end], Value::Null, byte_level(), byte_level());
    let other = open(&json, None, &Roles::from_metadata(meta)?)?;
    same("size", other.vocab_size(), own.vocab_size())?;
    same("roles", (other.bos(), other.eos(), other.adds_bos()), (own.bos(), own.eos(), own.adds_bos()))?;
    same("ends", other.end_tokens(), own.end_tokens())?;
    let inputs = fs::read_to_string(path.with_extension("gguf.inp"))?;
    let more = ["a<|endoftext|>b", " \n\n x", "naïve 東京 😀\t1234"];
    for text in inputs.split("\n__ggml_vocab_test__\n").chain(more) {
        for how in [USER, PROMPT, TEMPLATE] {
            same(text, other.encode(text, how)?, own.encode(text, how)?)?;
        }
        let ids = own.encode(text, USER)?;
        same(text, &*other.decode(&ids), text)?;
        let mut stream = other.stream();
        let parts: String = ids.iter().map(|&id| stream.push(id)).collect();
        same(text, &*(parts + &stream.finish()), text)?;
    }
    Ok(())
}

/// A byte-level vocabulary of a, b and ab; 3 is BOS, 4 EOS, 5 `<|im_end|>`, 6 a word of its own.
fn small() -> Value {
    let vocab =
        ["a", "b", "ab"].into_iter().zip(0..).map(|(text, id)| (text.to_owned(), id.into())).collect();
    let tokens = vec![
        added(3, "<s>", true),
        added(4, "<e>", true),
        added(5, "<|im_end|>", true),
        added(6, "<u>", false),
    ];
    file(bpe(vocab, &["a b".into()], false), tokens, Value::Null, byte_level(), byte_level())
}

fn roles_in_order() -> Outcome {
    let none = Roles::default();
    let plain = open(&small(), None, &none)?;
    same("none", (plain.bos(), plain.eos(), plain.adds_bos()), (None, None, false))?;
    same("ends by text", plain.end_tokens().iter().copied().collect::<Vec<_>>(), vec![5])?;
    same("a long text is not cut off", plain.encode("abab<u>abab", PROMPT)?, vec![2, 2, 6, 2, 2])?;
    same("control tokens are text for users", plain.encode("a<s>", USER)?.contains(&3), false)?;
    same("and tokens for templates", plain.encode("a<s>", TEMPLATE)?, vec![0, 3])?;
    same("what they print", plain.decode(&[3, 2, 6, 99]), "ab<u>\u{FFFD}".to_owned())?;

    let config = json!({ "bos_token": { "content": "<s>" }, "eos_token": "<e>", "add_bos_token": true });
    let configured = open(&small(), Some(&config), &none)?;
    same("config", (configured.bos(), configured.eos()), (Some(3), Some(4)))?;
    same("config", configured.encode("ab", PROMPT)?, vec![3, 2])?;

    let mut template = small();
    template["post_processor"] = json!({ "type": "TemplateProcessing",
        "single": [{ "SpecialToken": { "id": "<s>", "type_id": 0 } }, { "Sequence": { "id": "A", "type_id": 0 } }],
        "pair": [{ "Sequence": { "id": "A", "type_id": 0 } }, { "Sequence": { "id": "B", "type_id": 1 } }],
        "special_tokens": { "<s>": { "id": "<s>", "ids": [3], "tokens": ["<s>"] } } });
    same("template", open(&template, None, &none)?.encode("ab", PROMPT)?, vec![3, 2])?;

    let given = Roles { bos: Some(4), eos: vec![3, 0], adds_bos: Some(false), adds_eos: Some(true) };
    let given = open(&template, Some(&config), &given)?;
    same("given", given.encode("ab", PROMPT)?, vec![2, 3])?;
    same("given", given.end_tokens().iter().copied().collect::<Vec<_>>(), vec![0, 3, 5])
}

fn sentence_piece() -> Outcome {
    let mut texts: Vec<String> = (0..=255).map(|byte| format!("<0x{byte:02X}>")).collect();
    texts.extend(["▁", "a", "▁a"].map(String::from));
    let vocab = texts.into_iter().zip(0u32..).map(|(text, id)| (text, id.into())).collect();
    let normalizer = json!({ "type": "Sequence", "normalizers": [{ "type": "Prepend", "prepend": "▁" },
        { "type": "Replace", "pattern": { "String": " " }, "content": "▁" }] });
    let decoder = json!({ "type": "Sequence", "decoders": [
        { "type": "Replace", "pattern": { "String": "▁" }, "content": " " }, { "type": "ByteFallback" },
        { "type": "Fuse" }, { "type": "Strip", "content": " ", "start": 1, "stop": 0 }] });
    let tokens = vec![added(259, "<s>", true)];
    let json = file(bpe(vocab, &["▁ a".into()], true), tokens, normalizer, Value::Null, decoder);
    let spm = open(&json, None, &Roles { bos: Some(259), adds_bos: Some(true), ..Roles::default() })?;
    same("words", spm.encode("a a", PROMPT)?, vec![259, 258, 258])?;
    same("bytes", spm.encode("aé", USER)?, vec![258, 0xC3, 0xA9])?;
    for text in ["a a", " a", "é\n😀 ▁".trim_end_matches('▁'), "", "  "] {
        same(text, &*spm.decode(&spm.encode(text, PROMPT)?), text)?;
    }
    let mut gemma = json;
    gemma["normalizer"] = json!({ "type": "Replace", "pattern": { "String": " " }, "content": "▁" });
    let spaces = json!({ "id": 261, "content": "▁▁", "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": true, "special": false });
    gemma["added_tokens"] =
        json!([added(259, "<s>", false), added(260, "<eos>", true), spaces, added(262, "</s>", false)]);
    let gemma = open(&gemma, None, &Roles { eos: vec![260], ..Roles::default() })?;
    same("a run of spaces", gemma.encode("a  a</s>", USER)?, vec![257, 261, 257, 262])?;
    same("a run of spaces", gemma.decode(&[257, 261, 257, 262]), "a  a</s>".to_owned())?;
    same("a tag is no end", gemma.end_tokens().iter().copied().collect::<Vec<_>>(), vec![260])
}

/// Of a file that calls `<|im_end|>` an ordinary token, and whose BOS swallows the space behind it.
fn templates() -> Outcome {
    let mut json = small();
    json["added_tokens"][2]["special"] = false.into();
    json["added_tokens"][0]["rstrip"] = true.into();
    let tokenizer = open(&json, None, &Roles::default())?;
    let mut controls: Vec<&str> = tokenizer.control_tokens().collect();
    controls.sort_unstable();
    same("controls", controls, vec!["<e>", "<s>", "<|im_end|>"])?;
    let file = Gguf::open(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/models/demo-q8_0.gguf")))?;
    let template = ChatTemplate::for_model("<s> {{ messages[0].content }}<|im_end|>", &file, &tokenizer)?;
    for (said, expected) in [("ab<u>", vec![3, 2, 6, 5]), ("a", vec![3, 0, 5])] {
        let rendered = template.render(&vec![Message::user(said)].into(), &Options::default())?;
        same(said, rendered.encode(&tokenizer)?, expected)?;
    }
    for said in ["<s>", "<|im_end|>", "a<e>b"] {
        let rendered = template.render(&vec![Message::user(said)].into(), &Options::default())?;
        let ids = rendered.encode(&tokenizer)?;
        same(said, (ids[0], ids[ids.len() - 1]), (3, 5))?;
        same(said, ids[1..ids.len() - 1].iter().any(|id| (3..=5).contains(id)), false)?;
        same(said, tokenizer.encode(said, USER)?.iter().any(|id| (3..=5).contains(id)), false)?;
    }
    Ok(())
}

fn damage_is_named() -> Outcome {
    let mut unknown = small();
    unknown["decoder"] = json!({ "type": "WordPiece", "prefix": "##", "cleanup": true });
    let mut broken = small();
    broken["model"]["merges"] = json!(["a x"]);
    let mut far = small();
    far["model"]["vocab"]["far"] = json!(4_000_000_000u32);
    let mut long = small();
    long["model"]["merges"] = json!(["a b", "ab ab"]);
    let mut prefixed = small();
    prefixed["model"]["continuing_subword_prefix"] = json!("##");
    let mut cut = small();
    cut["pre_tokenizer"] =
        json!({ "type": "Sequence", "pretokenizers": [{ "type": "FixedLength", "length": 0 }] });
    let mut nothing = small();
    nothing["normalizer"] = json!({ "type": "Replace", "pattern": { "Regex": "" }, "content": "x" });
    let template = |piece: Value| {
        let mut json = small();
        json["post_processor"] =
            json!({ "type": "TemplateProcessing", "single": [piece], "pair": [], "special_tokens": {} });
        json
    };
    let second = template(json!({ "Sequence": { "id": "B", "type_id": 0 } }));
    let unknown_token = template(json!({ "SpecialToken": { "id": "<none>", "type_id": 0 } }));
    // What is looked up in such tables leads out of them, or is as long as it says.
    let table = |bytes: &str| {
        let mut json = small();
        json["normalizer"] = json!({ "type": "Precompiled", "precompiled_charsmap": bytes });
        json
    };
    for (json, what) in [
        (json!("text"), "tokenizer.json"),
        (unknown, "decoder"),
        (broken, "tokenizer.json"),
        (far, "4000000000"),
        (cut, "length 0"),
        (nothing, "nothing"),
        (second, "second"),
        (unknown_token, "<none>"),
        (long, "ab ab"),
        (prefixed, "a b"),
        (table("AAAA"), "precompiled_charsmap"),
        (table("/////w=="), "precompiled_charsmap"),
        (table("BAAAAP////8="), "precompiled_charsmap"),
    ] {
        let error = open(&json, None, &Roles::default()).err().ok_or("accepted")?;
        let message = error.message().unwrap_or_default();
        same(what, message.contains(what) && message.contains("tokenizer.json"), true)?;
    }
    let error = Tokenizer::from_json(Path::new("no/such/tokenizer.json"), &Roles::default(), None);
    same("missing", error.is_err_and(|error| error.to_string().contains("no/such/tokenizer.json")), true)
}

fn vocabularies_fit() -> Outcome {
    let folder = write(&small(), None)?;
    let path = folder.path().join("tokenizer.json");
    for vocab in [7, 7 + 1024] {
        Tokenizer::from_json(&path, &Roles::default(), Some(vocab))?;
    }
    let far =
        Tokenizer::from_json(&path, &Roles::default(), Some(7 + 1025)).err().ok_or("accepted")?.to_string();
    same("named", far.contains("it has 7 tokens, but the model knows 1032"), true)?;
    let error = Tokenizer::from_json(&path, &Roles::default(), Some(6)).err().ok_or("accepted")?.to_string();
    same("named", error.contains('7') && error.contains('6'), true)?;
    let roles = Roles { eos: vec![7], ..Roles::default() };
    same("beyond", Tokenizer::from_json(&path, &roles, None).is_err(), true)
}
