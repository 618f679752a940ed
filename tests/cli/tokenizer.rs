//! `--tokenizer FILE`: a `tokenizer.json` in place of the model's own tokenizer, in every command that makes ids of a text.

use std::path::Path;

use libtest_mimic::Failed;
use serde_json::{Map, Value, json};
use wgllm::gguf::Gguf;

use crate::program::*;

/// The carried model's words as a `tokenizer.json`, but for one of them.
fn renamed() -> Result<Value, Failed> {
    let file = Gguf::open(Path::new(MODEL))?;
    let tokens = file.metadata().strings("tokenizer.ggml.tokens")?.ok_or("no tokens")?;
    let text = |bytes: &[u8]| match String::from_utf8_lossy(bytes).into_owned() {
        lily if lily == "ĠLily" => "ĠMila".to_owned(),
        text => text,
    };
    let vocab: Map<String, Value> = tokens.zip(0u32..).map(|(bytes, id)| (text(bytes), id.into())).collect();
    must(vocab.contains_key("ĠMila"), || "the model knows no Lily".into())?;
    let bytes =
        json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true });
    Ok(json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null,
        "pre_tokenizer": bytes.clone(), "decoder": bytes,
        "added_tokens": [{ "id": 0, "content": "<|endoftext|>", "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true }],
        "model": { "type": "WordLevel", "vocab": vocab, "unk_token": "<|endoftext|>" },
    }))
}

fn written(json: &Value) -> Result<tempfile::NamedTempFile, Failed> {
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), json.to_string())?;
    Ok(file)
}

pub fn story() -> Outcome {
    let file = written(&renamed()?)?;
    let path = file.path().to_string_lossy();
    let run = on_cpu(&["-p", PROMPT, "--temp", "0", "-n", "60", "--json", "--tokenizer", &path])?;
    let json = parse(&run.out)?;
    let told = json["text"].as_str().unwrap_or_default();
    contains(told, "a little girl named Mila.")?;
    must(STORY.replace(" Lily", " Mila").starts_with(told), || format!("got {told:?}"))?;
    equal(json["prompt_tokens"].as_u64(), Some(5))?;
    let run = succeed(&mut command(&["tokenize", "-m", MODEL, "--tokenizer", &path, "-p", PROMPT]))?;
    equal(run.out.as_str(), "1 419 428 260 396\n")
}

/// A tokenizer that has more tokens than the model, or far fewer, is another model's.
pub fn of_another_model() -> Outcome {
    let folder = tempfile::tempdir()?;
    let (text, out) = (folder.path().join("text"), folder.path().join("x.npy"));
    std::fs::write(&text, r#"[{"role": "user", "content": "a"}]"#)?;
    let (text, out) = (text.to_string_lossy(), out.to_string_lossy());
    let mut larger = renamed()?;
    larger["model"]["vocab"]["one more"] = 2048.into();
    let mut smaller = renamed()?;
    let words = smaller["model"]["vocab"].as_object_mut().ok_or("no words")?;
    words.retain(|_, id| id.as_u64().is_some_and(|id| id < 1023));
    for (json, count) in [(larger, 2049), (smaller, 1023)] {
        let file = written(&json)?;
        let path = file.path().to_string_lossy();
        let mut commands: Vec<Vec<&str>> = vec![
            vec!["-b", "cpu", "-p", "a"],
            vec!["chat", "-b", "cpu", "-p", "a"],
            vec!["tokenize", "-p", "a"],
            vec!["template", "--ids", "--chat-template", "chatml", "--messages", &text],
            vec!["perplexity", "-b", "cpu", "-f", &text],
            vec!["logits", "-b", "cpu", "-p", "a", "--out", &out],
            vec!["check", "-b", "reference,cpu", "-p", "a"],
        ];
        if cfg!(feature = "serve") {
            commands.push(vec!["serve", "-b", "cpu", "--port", "0"]);
        }
        for args in commands {
            let run = wgllm(&[&args, &["-m", MODEL, "--tokenizer", &path][..]].concat());
            equal((&args, run.code), (&args, Some(3)))?;
            contains(&run.err, &path)?;
            contains(&run.err, &format!("it has {count} tokens, but the model knows 2048"))?;
        }
    }
    Ok(())
}
