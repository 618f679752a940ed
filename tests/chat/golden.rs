//! Every rendering and every error of the golden data: conversations through jinja2 as Hugging Face sets it up.

use std::path::{Path, PathBuf};

use chrono::NaiveDateTime;
use libtest_mimic::{Failed, Trial};
use serde_json::Value;
use wgllm::chat::{ChatTemplate, Conversation, Options};
use wgllm::gguf::Gguf;
use wgllm::tokenizer::Tokenizer;

use crate::fixtures::{entries, files, fixtures, ids, json, stem};
use crate::{Outcome, must, same};

pub fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for file in files(&fixtures().join("chat"), "json") {
        trials.push(Trial::test(format!("golden: {}", stem(&file)), move || renders(&file)));
    }
    if trials.is_empty() {
        trials.push(ignored("golden: no fixtures; set WGLLM_FIXTURES"));
    }
    for file in templates_in_files() {
        let title = format!(
            "a file's own template speaks: {}",
            file.strip_prefix(fixtures()).unwrap_or(&file).display()
        );
        trials.push(Trial::test(title, move || speaks(&file)));
    }
    for folder in entries(&fixtures().join("../real")) {
        let expected = folder.join("expected.json");
        if expected.is_file() {
            trials.push(real(&folder, expected));
        }
    }
    trials
}

fn ignored(name: &str) -> Trial {
    Trial::test(name, || Ok(())).with_ignored_flag(true)
}

fn renders(file: &Path) -> Outcome {
    let golden = json(file)?;
    let string = |key: &str| golden[key].as_str().ok_or_else(|| Failed::from(format!("no {key}")));
    let text = std::fs::read_to_string(file.with_file_name(string("template")?))?;
    let template = ChatTemplate::parse(&text, string("bos_token")?, string("eos_token")?)?;
    let now = NaiveDateTime::parse_from_str(string("strftime_now_is")?, "%Y-%m-%d %H:%M:%S")?;
    let cases =
        golden["conversations"].as_object().filter(|cases| !cases.is_empty()).ok_or("no conversations")?;
    for (name, case) in cases {
        let conversation: Conversation = serde_json::from_value(case.clone())?;
        let add_generation_prompt =
            case["add_generation_prompt"].as_bool().ok_or("no add_generation_prompt")?;
        let options = Options { add_generation_prompt, now: Some(now), ..Options::default() };
        let got = template
            .render(&conversation, &options)
            .map(|rendered| rendered.text())
            .map_err(|e| e.to_string());
        let expected = match (case["text"].as_str(), case["error"].as_str()) {
            (Some(text), None) => Ok(text.to_owned()),
            (None, Some(error)) => Err(format!("the chat template refuses this conversation: {error}")),
            _ => return Err(format!("{name}: neither text nor error").into()),
        };
        same(name, got, expected)?;
    }
    Ok(())
}

/// Models and vocabularies with a template and a tokenizer that is known.
fn templates_in_files() -> Vec<PathBuf> {
    let models = entries(&fixtures().join("models")).into_iter().map(|folder| folder.join("model-f32.gguf"));
    let has = |path: &PathBuf| {
        let Ok(file) = Gguf::open(path) else { return false };
        file.metadata().get("tokenizer.chat_template").is_some()
            && matches!(Tokenizer::from_metadata(file.metadata()), Ok(Some(_)))
    };
    models.chain(files(&fixtures().join("tokenizers"), "gguf")).filter(has).collect()
}

/// The prompt holds what was said, begins with one BOS where the vocabulary asks for it, and is the same text as ids.
fn speaks(path: &Path) -> Outcome {
    let file = Gguf::open(path)?;
    let tokenizer = Tokenizer::from_metadata(file.metadata())?.ok_or("no tokenizer")?;
    let template = ChatTemplate::from_gguf(&file, &tokenizer)?;
    must(template.capabilities().string_content, || "contents that are a text are not written".into())?;
    let conversation: Conversation =
        serde_json::from_str(r#"{"messages": [{"role": "user", "content": "Where is the lighthouse?"}]}"#)?;
    let options = Options { add_generation_prompt: true, ..Options::default() };
    let rendered = template.render(&conversation, &options)?;
    must(rendered.text().contains("Where is the lighthouse?"), || rendered.text())?;
    let ids = rendered.encode(&tokenizer)?;
    let bos = ids.iter().filter(|&&id| Some(id) == tokenizer.bos()).count();
    let distinct = tokenizer.bos() != tokenizer.eos() && tokenizer.adds_bos();
    must(!distinct || bos == 1, || format!("{bos} times BOS in {ids:?}"))
}

/// The chat prompts of a trained model, with the template of its file where that is there.
fn real(folder: &Path, expected: PathBuf) -> Trial {
    let name = stem(folder);
    let Ok(golden) = json(&expected) else { return ignored(&format!("real: {name}: unreadable")) };
    let prompts: Vec<Value> = golden["prompts"].as_array().into_iter().flatten().cloned().collect();
    let chats: Vec<Value> = prompts.into_iter().filter(|prompt| prompt["messages"].is_array()).collect();
    let file = golden["model"]["file"].as_str().unwrap_or_default();
    let models = std::env::var_os("WGLLM_MODELS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/models"), PathBuf::from);
    let file = models.join(file);
    if chats.is_empty() {
        return ignored(&format!("real: {name}: no prompt is a chat"));
    }
    if !file.is_file() {
        return ignored(&format!(
            "real: {name}: the model file is not there; set WGLLM_MODELS to its folder"
        ));
    }
    Trial::test(format!("real: {name}"), move || {
        let file = Gguf::open(&file)?;
        let tokenizer = Tokenizer::from_metadata(file.metadata())?.ok_or("no tokenizer")?;
        let template = ChatTemplate::from_gguf(&file, &tokenizer)?;
        let options = Options { add_generation_prompt: true, ..Options::default() };
        for prompt in chats {
            let what = prompt["name"].as_str().unwrap_or_default();
            let conversation: Conversation = serde_json::from_value(prompt.clone())?;
            let rendered = template.render(&conversation, &options)?;
            same(what, Some(&*rendered.text()), prompt["text"].as_str())?;
            same(what, rendered.encode(&tokenizer)?, ids(&prompt["ids"])?)?;
        }
        Ok(())
    })
}
