//! `models/ARCH`: tiny random models, one folder for each, in F32 and F16, against Hugging Face transformers.

use std::path::Path;

use libtest_mimic::{Failed, Trial};
use serde_json::Value;
use wgllm::backend::Precision;
use wgllm::gguf::Gguf;
use wgllm::models::{ARCHITECTURES, Model};

use crate::adapters::Target;
use crate::asserts::{Subject, Tolerance, near, same_tokens};
use crate::fixtures::{KINDS, entries, fixtures, ids, json, npy, numbers, stem, unknown};
use crate::{Outcome, on_all};

/// In `fast`, the margin up to which another token is no mistake: each of two logits may be 0.03 off, which is the worst that the
/// README has of an F16 cache with F16 weights (llama.cpp's), so that they may trade places when 0.06 apart. Every golden margin of the
/// fixtures is larger: all of their tokens bind.
const FAST_MARGIN: f64 = 0.06;

/// A trial for each file of each model on each backend, and one for each architecture that the engine claims to know.
pub fn trials(targets: &[Target]) -> Vec<Trial> {
    let folders = entries(&fixtures().join("models"));
    let mut trials = Vec::new();
    // In each run an adapter meets each kind of layer; other graphs `check` holds to the CPU's, node by node. What weights are kept in is the decoder's alone.
    for folder in &folders {
        let kind = KINDS.iter().any(|kind| stem(folder) == *kind);
        for (file, way) in
            [("model-f32.gguf", (Precision::F32, kind)), ("model-f16.gguf", (Precision::Fast, kind))]
        {
            let path = folder.join(file);
            if path.is_file() {
                trials.extend(on_all(&path, targets, &[way], agrees));
            }
        }
    }
    // Without this, an engine that takes a model for an unknown one would have all its trials ignored.
    for architecture in ARCHITECTURES {
        let of = |folder: &&std::path::PathBuf| {
            json(&folder.join("expected.json")).is_ok_and(|e| e["gguf_architecture"] == architecture.name)
        };
        let models: Vec<_> = folders.iter().filter(of).cloned().collect();
        if !models.is_empty() {
            let name = format!("{} models are run, not ignored", architecture.name);
            trials.push(Trial::test(name, move || {
                match models.iter().any(|folder| unknown(&folder.join("model-f32.gguf")).is_none()) {
                    true => Ok(()),
                    false => Err(format!("not one of {}", models.len()).into()),
                }
            }));
        }
    }
    let folder = fixtures().join("models");
    for (name, test) in [("mixtral", of_a_token as fn(&Path) -> Outcome), ("phi3-longrope", long_context)] {
        let path = folder.join(name).join("model-f32.gguf");
        if path.is_file() {
            let what = if name == "mixtral" {
                "counts the experts that a token goes to"
            } else {
                "has factors for a long context"
            };
            trials.push(Trial::test(format!("{name} {what}"), move || test(&path)));
        }
    }
    trials
}

/// Bytes of weights of a token: all but the embedding, of four experts two.
fn of_a_token(path: &Path) -> Outcome {
    let file = Gguf::open(path)?;
    let bytes = |name: &str| match name {
        "token_embd.weight" => 0,
        _ => file.tensor(name).map_or(0, |t| t.bytes / if name.contains("_exps.") { 2 } else { 1 }),
    };
    let expected: u64 = file.tensors().iter().map(|t| bytes(&t.name)).sum();
    match Model::from_gguf(&file, None)?.bytes_per_token() {
        found if found == expected => Ok(()),
        found => Err(format!("{found} bytes, expected {expected}").into()),
    }
}

/// A context beyond the first one takes other factors: logits are far from the golden ones, by what the fixture says of that mistake.
fn long_context(path: &Path) -> Outcome {
    let expected = json(&path.with_file_name("expected.json"))?;
    let prompt = ids(&expected["prompt"]["ids"])?;
    let (golden, _) = npy(&path.with_file_name("logits.npy"))?;
    let mistake =
        expected["sensitivity"]["long factors instead of short"][0].as_f64().ok_or("no sensitivity")?;
    let mut subject = Subject::with_context(path, &Target::cpu(), 2048)?;
    let found = subject.logits(&prompt, false)?;
    let apart = found.iter().zip(&golden).map(|(a, b)| f64::from((a - b).abs())).fold(0.0, f64::max);
    match (apart - mistake).abs() < 1e-2 {
        true => Ok(()),
        false => Err(format!("{apart} apart, expected {mistake}").into()),
    }
}

fn agrees(path: &Path, target: &Target, precision: Precision) -> Outcome {
    let expected = json(&path.with_file_name("expected.json"))?;
    let f16 = path.ends_with("model-f16.gguf");
    let golden = |file: &str| npy(&path.with_file_name(file));
    let (prompt, long) = (ids(&expected["prompt"]["ids"])?, ids(&expected["long"]["ids"])?);
    let mut subject = Subject::open(path, target, precision)?;
    let (tolerance, margin) = match precision {
        Precision::F32 => (Tolerance::F32, 0.0),
        Precision::Fast => (f16_cache(&expected, f16), FAST_MARGIN),
    };

    let (logits, cols) = golden(if f16 { "logits-f16.npy" } else { "logits.npy" })?;
    near("prompt", &subject.logits(&prompt, false)?, &logits, cols, tolerance)?;
    near("prompt, token by token", &subject.logits(&prompt, true)?, &logits, cols, tolerance)?;
    let (logits, cols) = golden(if f16 { "long-logits-f16.npy" } else { "long-logits.npy" })?;
    let found = subject.last_logits(&long, logits.len() / cols)?;
    near("long sequence", &found, &logits, cols, tolerance)?;

    let (tokens, margins) = if f16 {
        (&expected["f16"]["greedy_ids"], &expected["f16"]["greedy_margins"])
    } else {
        (&expected["greedy"]["ids"], &expected["greedy"]["margins"])
    };
    continues("prompt", &mut subject, &prompt, tokens, margins, margin)?;
    let (tokens, margins) = if f16 {
        (&expected["long"]["greedy_ids_f16"], &expected["long"]["greedy_margins_f16"])
    } else {
        (&expected["long"]["greedy_ids"], &expected["long"]["greedy_margins"])
    };
    continues("long sequence", &mut subject, &long, tokens, margins, margin)
}

/// What an F16 cache may differ by. Where it makes llama.cpp choose another expert on this very file, half as much again as it differs by.
fn f16_cache(expected: &Value, f16: bool) -> Tolerance {
    let with = &expected["llama_cpp"][if f16 { "f16_weights_f16_kv" } else { "f32_weights_f16_kv" }];
    let usual = Tolerance::F16_CACHE;
    match (with["max_abs_logit_diff"].as_f64(), with["rms_diff"].as_f64()) {
        (Some(largest), Some(rms)) if largest > usual.largest.into() && has_experts(expected) => {
            Tolerance { largest: 1.5 * largest as f32, rms: (1.5 * rms).max(usual.rms) }
        }
        _ => usual,
    }
}

fn has_experts(expected: &Value) -> bool {
    expected["router_min_margin"].is_number()
}

fn continues(
    what: &str,
    subject: &mut Subject,
    prompt: &[u32],
    tokens: &Value,
    margins: &Value,
    least: f64,
) -> Result<(), Failed> {
    let (golden, margins) = (ids(tokens)?, numbers(margins)?);
    let found = subject.greedy(prompt, golden.len())?;
    same_tokens(what, &found, &golden, &margins, least)
}
