//! Tokenizers against llama.cpp, Hugging Face and SentencePiece: every vocabulary and prompt in the golden
//! data. `small` holds vocabularies written by hand, each of which shows one rule; `odd` those that files in the wild
//! hold against the rules; `json` those of a `tokenizer.json`; `trained` the vocabularies of trained models; `property` what holds for any text.

mod json;
mod odd;
mod property;
mod small;
mod trained;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::Value;
use wgllm::gguf::Gguf;
use wgllm::tokenizer::{Encode, Tokenizer};

type Outcome = Result<(), Failed>;
type Test = (&'static str, fn(&Path, &Tokenizer) -> Outcome);

const USER: Encode = Encode { special: false, bos: false };
const PROMPT: Encode = Encode { special: false, bos: true };
const TEMPLATE: Encode = Encode { special: true, bos: true };

fn main() {
    let fixtures = std::env::var_os("WGLLM_FIXTURES")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/fixtures"), PathBuf::from);
    let mut trials = golden(&fixtures);
    trials.extend(small::trials());
    trials.extend(odd::trials());
    trials.extend(json::trials(&fixtures.join("tokenizers")));
    trials.extend(trained::trials(&fixtures.join("../real")));
    trials.extend(property::trials());
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

/// Every vocabulary and every prompt that the fixtures hold.
fn golden(fixtures: &Path) -> Vec<Trial> {
    let mut trials = Vec::new();
    let conformance: [Test; 4] = [
        ("conformance", conforms),
        ("round trips", property::round_trips),
        ("streaming", streams_whole_characters),
        ("near-linear time", takes_near_linear_time),
    ];
    for file in files(&fixtures.join("tokenizers"), "gguf") {
        trials.extend(on_file(&file, &conformance));
    }
    for folder in files(&fixtures.join("models"), "") {
        trials.extend(on_file(&folder.join("model-f32.gguf"), &[("prompt", encodes_the_prompt)]));
    }
    for folder in files(&fixtures.join("real"), "") {
        trials.extend(on_file(&folder.join("model-f32.gguf"), &[("stories", tells_the_stories)]));
    }
    for file in files(&fixtures.join("../demo"), "gguf") {
        trials.extend(on_file(&file, &[("demo", tells_the_demo_stories)]));
    }
    if trials.is_empty() {
        let name = format!("golden data: nothing in {}; set WGLLM_FIXTURES", fixtures.display());
        trials.push(Trial::test(name, || Ok(())).with_ignored_flag(true));
    }
    trials
}

/// Tests of one file's tokenizer; ignored, with the reason, where the pre-tokenizer is not known.
fn on_file(file: &Path, tests: &[Test]) -> Vec<Trial> {
    let folder = file.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
    let title = format!("{folder}/{}", file.file_name().unwrap_or_default().to_string_lossy());
    let opened = Gguf::open(file).and_then(|gguf| Tokenizer::from_metadata(gguf.metadata()));
    let opened = opened.map(Arc::new).map_err(|error| error.to_string());
    let trial = |&(what, test): &Test| match &opened {
        Err(reason) if reason.contains("tokenizer.ggml.pre \"") => {
            let reason = reason.split(';').next().unwrap_or_default();
            Trial::test(format!("{what}: {title}: {reason}"), || Ok(())).with_ignored_flag(true)
        }
        opened => {
            let (file, opened) = (file.to_owned(), opened.clone());
            Trial::test(format!("{what}: {title}"), move || {
                test(&file, opened?.as_ref().as_ref().ok_or("no tokenizer in the file")?)
            })
        }
    };
    tests.iter().map(trial).collect()
}

fn conforms(file: &Path, tokenizer: &Tokenizer) -> Outcome {
    let inputs = fs::read_to_string(file.with_extension("gguf.inp"))?;
    let outputs = fs::read_to_string(file.with_extension("gguf.out"))?;
    let mut texts: Vec<&str> = inputs.split("\n__ggml_vocab_test__\n").collect();
    // One file has no separator behind its last text.
    texts.pop_if(|last| last.is_empty());
    same("number of texts", texts.len(), outputs.lines().count())?;
    for (text, ids) in texts.iter().zip(outputs.lines()) {
        let ids: Vec<u32> = ids.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
        same(text, tokenizer.encode(text, USER)?, ids)?;
        same(text, &*tokenizer.decode(&tokenizer.encode(text, USER)?), text)?;
    }
    let vocabulary = file.file_stem().unwrap_or_default().to_string_lossy().replace("ggml-vocab-", "");
    let extra = file.with_file_name(format!("extra-{vocabulary}.json"));
    if vocabulary == "gemma-4" && !extra.exists() {
        return Ok(());
    }
    encodes_cases(&extra, tokenizer)
}

/// The texts of a file of cases, as a user's and as a template's, and back.
fn encodes_cases(file: &Path, tokenizer: &Tokenizer) -> Outcome {
    for case in list(&json(file)?["cases"])? {
        let text = string(&case["text"])?;
        same(text, tokenizer.encode(text, USER)?, numbers(&case["ids"])?)?;
        same(text, tokenizer.encode(text, TEMPLATE)?, numbers(&case["ids_with_bos_and_special_parsing"])?)?;
        same(text, &*tokenizer.decode(&tokenizer.encode(text, PROMPT)?), text)?;
    }
    Ok(())
}

fn streams_whole_characters(_: &Path, tokenizer: &Tokenizer) -> Outcome {
    for text in ["🦙🚀 👨‍👩‍👧 កាន់តែពិសេស 想在工作 Ünï", " leading and trailing "]
    {
        let ids = tokenizer.encode(text, USER)?;
        let mut stream = tokenizer.stream();
        let parts: Vec<String> = ids.iter().map(|&id| stream.push(id)).collect();
        let broken = parts.iter().find(|part| part.contains('\u{FFFD}'));
        same("a part with a broken character", broken, None)?;
        // A continuation keeps the space that `encode` put in front of it.
        let space = if tokenizer.model() == "llama" { " " } else { "" };
        same(text, parts.concat() + &stream.finish(), format!("{space}{text}"))?;
    }
    Ok(())
}

/// Quadratic merging or backtracking would take a minute and more where these take tens of milliseconds.
fn takes_near_linear_time(_: &Path, tokenizer: &Tokenizer) -> Outcome {
    for unit in
        ["a", " ", "\n", "<", "7", ".", "'s", "\t\t x", "\n   ", "abcdefgh", "想在工作", "😀", "\u{301}"]
    {
        let text = unit.repeat(400_000 / unit.len());
        let start = Instant::now();
        let ids = tokenizer.encode(&text, TEMPLATE)?;
        let took = start.elapsed();
        if took > Duration::from_secs(10) {
            return Err(format!("400 kB of {unit:?} took {took:?}").into());
        }
        if tokenizer.decode(&ids) != text {
            return Err(format!("400 kB of {unit:?} does not come back").into());
        }
    }
    Ok(())
}

fn encodes_the_prompt(file: &Path, tokenizer: &Tokenizer) -> Outcome {
    let expected = json(&file.with_file_name("expected.json"))?;
    let (text, ids) = (string(&expected["prompt"]["text"])?, numbers(&expected["prompt"]["ids"])?);
    same(text, tokenizer.encode(text, PROMPT)?, ids)?;
    let stated = &expected["tokenizer"];
    same("adds BOS", tokenizer.adds_bos(), stated["add_bos"] == Value::Bool(true))?;
    same("vocabulary", Some(tokenizer.vocab_size() as u64), stated["n_vocab"].as_u64())?;
    same("EOS", tokenizer.eos().map(u64::from), stated["eos"].as_u64())?;
    same("EOS ends", tokenizer.eos().map(|id| tokenizer.is_end(id)), Some(true))
}

fn tells_the_stories(file: &Path, tokenizer: &Tokenizer) -> Outcome {
    let expected = json(&file.with_file_name("expected.json"))?;
    for case in list(&expected["cases"])? {
        let prompt = string(&case["prompt"])?;
        let mut ids = numbers(&case["ids"])?;
        same(prompt, tokenizer.encode(prompt, PROMPT)?, ids.clone())?;
        ids.extend(numbers(&case["greedy_ids"])?);
        same(prompt, &*tokenizer.decode(&ids), string(&case["text"])?)?;
    }
    Ok(())
}

fn tells_the_demo_stories(file: &Path, tokenizer: &Tokenizer) -> Outcome {
    let expected = json(&file.with_file_name("expected.json"))?;
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    for case in list(&expected["files"][&*name]["prompts"])? {
        let prompt = string(&case["prompt"])?;
        same(prompt, tokenizer.encode(prompt, PROMPT)?, numbers(&case["prompt_ids"])?)?;
        let mut stream = tokenizer.stream();
        let text: String = numbers(&case["ids"])?.into_iter().map(|id| stream.push(id)).collect();
        same(prompt, &*(text + &stream.finish()), string(&case["text"])?)?;
    }
    Ok(())
}

/// The entries of a folder with that extension, sorted; none where there is no folder.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> =
        entries.filter(|path| path.extension().unwrap_or_default() == extension).collect();
    files.sort();
    files
}

fn json(file: &Path) -> Result<Value, Failed> {
    Ok(serde_json::from_str(&fs::read_to_string(file)?)?)
}

fn list(value: &Value) -> Result<&[Value], Failed> {
    value
        .as_array()
        .map(Vec::as_slice)
        .filter(|list| !list.is_empty())
        .ok_or_else(|| "not a filled list".into())
}

fn string(value: &Value) -> Result<&str, Failed> {
    value.as_str().ok_or_else(|| "not a string".into())
}

fn numbers(value: &Value) -> Result<Vec<u32>, Failed> {
    Ok(serde_json::from_value(value.clone())?)
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, got: T, expected: T) -> Outcome {
    if got == expected { Ok(()) } else { Err(format!("{what:?}: got {got:?}, expected {expected:?}").into()) }
}
