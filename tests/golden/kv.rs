//! Models with keys and values in q8_0, against the golden logits of f32.
//!
//! The bound is derived. A number rounded to steps of s is s / √12 off in the mean. Of q8_0, s is 1/127 of the largest of 32, which is 2.2
//! times their root mean square for normal numbers: 5.0e-3 of it. Of f16 it is 2⁻¹¹ to 2⁻¹⁰ of the number: 2.0e-4 of the root mean square.
//! Such errors are small, so that logits follow them linearly: those of q8_0 are 25 times as far from f32's as those of f16,
//! which the reference computes here. Heads are no normal numbers and a model has few of them: twice that is allowed.

use std::path::Path;

use libtest_mimic::{Failed, Trial};
use wgllm::backend::Precision;
use wgllm::engine::Options;
use wgllm::gguf::Gguf;
use wgllm::memory::kv_format;

use crate::adapters::Target;
use crate::asserts::{Subject, Tolerance, near};
use crate::fixtures::{fixtures, ids, json, npy};
use crate::{F32, Outcome, on_all};

/// With neighbours and halves that turn, norms of heads, biases, windows; all have heads of 32.
const MODELS: &[&str] = &["mistral", "llama-yarn", "qwen3", "gemma3", "phi2", "seed_oss"];
const RATIO: f32 = 25.0;
const SPREAD: f32 = 2.0;

pub fn trials(targets: &[Target]) -> Vec<Trial> {
    let paths = MODELS.iter().map(|name| fixtures().join("models").join(name).join("model-f32.gguf"));
    let paths = paths.filter(|path| path.is_file());
    let trials = paths.flat_map(|path| on_all(&path, targets, &[F32], agrees));
    trials.map(|trial| trial.with_kind("KV in q8_0")).collect()
}

fn open(path: &Path, target: &Target, precision: Precision, kept: &str) -> Result<Subject, Failed> {
    let kept = kv_format(kept);
    let options = Options { cache_type_k: kept, cache_type_v: kept, ..target.options(precision) };
    Subject::with_options(Gguf::open(path)?, target, &options)
}

fn agrees(path: &Path, target: &Target, precision: Precision) -> Outcome {
    let expected = json(&path.with_file_name("expected.json"))?;
    let prompt = ids(&expected["prompt"]["ids"])?;
    let (golden, cols) = npy(&path.with_file_name("logits.npy"))?;
    let halves = open(path, &Target::cpu(), Precision::F32, "f16")?.logits(&prompt, false)?;
    let apart = halves.iter().zip(&golden).map(|(a, b)| f64::from(a - b));
    let largest = apart.clone().fold(0.0, |most: f64, d| most.max(d.abs()));
    let rms = (apart.map(|d| d * d).sum::<f64>() / golden.len() as f64).sqrt();
    let times = RATIO * SPREAD;
    let tolerance = Tolerance { largest: times * largest as f32, rms: f64::from(times) * rms };
    let mut subject = open(path, target, precision, "q8_0")?;
    near("prompt", &subject.logits(&prompt, false)?, &golden, cols, tolerance)?;
    near("prompt, token by token", &subject.logits(&prompt, true)?, &golden, cols, tolerance)?;
    // Were nothing rounded, nothing would have been tested.
    let found = subject.logits(&prompt, false)?;
    let exact = found.iter().zip(&golden).all(|(a, b)| (a - b).abs() < largest as f32);
    if exact { Err("logits are as near as with f16: q8_0 was not used".into()) } else { Ok(()) }
}
