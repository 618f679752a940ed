//! `real/NAME` and the model that the repository carries: trained models, their stories token by token.

use std::path::{Path, PathBuf};

use libtest_mimic::{Failed, Trial};
use wgllm::backend::Precision;
use wgllm::formats::FORMATS;
use wgllm::gguf::Gguf;

use crate::adapters::Target;
use crate::asserts::{Subject, Tolerance, near, same_tokens, same_where_sure};
use crate::fixtures::{demo, entries, files, fixtures, ids, json, npy, numbers};
use crate::{Outcome, TRAINED, on_all};

/// In `fast`, the margin up to which another token is no mistake: with an F16 cache as for the random models, and with activations in
/// int8 what forced decoding is held to.
const FAST_MARGIN: f64 = 0.06;
const INT8_MARGIN: f64 = 0.2;

/// A trial for each file on each backend that has golden tokens of its own: a quantised one of `real` has not.
pub fn trials(targets: &[Target]) -> Vec<Trial> {
    let own = |path: &PathBuf| path.starts_with(demo()) || !is_quantised(path);
    // Each run has an adapter tell those of the smallest model; the others, which take a software adapter minutes, are ignored.
    let ways = |path: &Path| {
        let of = |name| path.ends_with(name) && !path.starts_with(demo());
        [(Precision::F32, of("model-f32.gguf")), (Precision::Fast, of("model-f16.gguf"))]
    };
    let trials = paths().into_iter().filter(own).flat_map(|path| on_all(&path, targets, &ways(&path), told));
    trials.map(|trial| trial.with_kind(TRAINED)).collect()
}

/// All trained models.
pub fn paths() -> Vec<PathBuf> {
    let real = entries(&fixtures().join("real"));
    real.iter().chain([&demo()]).flat_map(|folder| files(folder, "gguf")).collect()
}

/// Whether any tensor is in blocks.
pub fn is_quantised(path: &Path) -> bool {
    let blocks = |id: u32| FORMATS.iter().any(|f| f.id == id && f.weights > 1);
    Gguf::open(path).is_ok_and(|file| file.tensors().iter().any(|t| blocks(t.kind.id)))
}

/// A prompt and what follows it.
pub struct Story {
    pub prompt: Vec<u32>,
    pub tokens: Vec<u32>,
    margins: Vec<f64>,
    /// Golden logits of the prompt, for the F32 file.
    logits: Option<PathBuf>,
}

/// The stories beside a file, of which those of quantised files of `real` are the F32 file's.
pub fn stories(path: &Path) -> Result<Vec<Story>, Failed> {
    if path.starts_with(demo()) { carried(path) } else { real(path) }
}

/// The stories of `real/NAME/expected.json`. The F16 file has golden tokens of its own, with margins only as far as its weights'
/// rounding has not changed a token.
fn real(path: &Path) -> Result<Vec<Story>, Failed> {
    let expected = json(&path.with_file_name("expected.json"))?;
    let f16 = path.ends_with("model-f16.gguf");
    let cases = expected["cases"].as_array().ok_or("no cases")?;
    let story = |(i, case): (usize, &serde_json::Value)| {
        let (mut tokens, mut margins) = (ids(&case["greedy_ids"])?, numbers(&case["margins"])?);
        if f16 {
            let others = ids(&case["llama_cpp_f16"]["greedy_ids"])?;
            let same = others.iter().zip(&tokens).take_while(|(a, b)| a == b).count();
            margins.truncate(same + 1);
            tokens = others;
        }
        let logits = path.with_file_name(format!("logits-{i}.npy"));
        let logits = path.ends_with("model-f32.gguf").then_some(logits);
        Ok(Story { prompt: ids(&case["ids"])?, tokens, margins, logits })
    };
    cases.iter().enumerate().map(story).collect()
}

/// The stories of the carried model; the token that ends one is the last.
fn carried(path: &Path) -> Result<Vec<Story>, Failed> {
    let expected = json(&path.with_file_name("expected.json"))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let prompts = expected["files"][&name]["prompts"].as_array().ok_or("no prompts")?;
    let story = |case: &serde_json::Value| {
        let (mut tokens, mut margins) = (ids(&case["ids"])?, numbers(&case["margins"])?);
        margins.truncate(tokens.len());
        if case["stopped_by_eos"] == true {
            tokens.extend(ids(&serde_json::json!([expected["eos"]]))?);
            margins.extend(case["eos_margin"].as_f64());
        }
        Ok(Story { prompt: ids(&case["prompt_ids"])?, tokens, margins, logits: None })
    };
    prompts.iter().map(story).collect()
}

/// The model continues every prompt with the golden tokens; and where it may not, it does so when it is fed with them.
fn told(path: &Path, target: &Target, precision: Precision) -> Outcome {
    let mut subject = Subject::open(path, target, precision)?;
    let (margin, tolerance) = match precision {
        Precision::F32 => (0.0, Tolerance::F32),
        Precision::Fast if is_quantised(path) => (INT8_MARGIN, Tolerance::INT8),
        Precision::Fast => (FAST_MARGIN, Tolerance::F16_CACHE),
    };
    for (i, story) in stories(path)?.iter().enumerate() {
        let what = format!("prompt {i}");
        if let Some(golden) = &story.logits {
            let (golden, cols) = npy(golden)?;
            near(&what, &subject.logits(&story.prompt, false)?, &golden, cols, tolerance)?;
        }
        let found = subject.greedy(&story.prompt, story.tokens.len())?;
        same_tokens(&what, &found, &story.tokens, &story.margins, margin)?;
        if found != story.tokens {
            // Behind the token that may be another, the text is another, too.
            let found = subject.following(&story.prompt, &story.tokens)?;
            same_where_sure(&what, &found, &story.tokens, &story.margins, margin)?;
        }
    }
    Ok(())
}
