//! `real/NAME` and the model that the repository carries: trained models, their stories token by token.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, OnceLock};

use libtest_mimic::{Failed, Trial};
use wgllm::backend::Precision;
use wgllm::formats::FORMATS;
use wgllm::gguf::Gguf;

use crate::adapters::Target;
use crate::facts::{Subject, Tolerance, near, same_tokens, tops};
use crate::fixtures::{demo, entries, files, fixtures, ids, json, npy, numbers};
use crate::{Outcome, on_all};

/// In `fast`, the margin up to which another token is no mistake, as for the random models.
const FAST_MARGIN: f64 = 0.06;
/// Under forced decoding of a quantised file: the share of positions that have the reference's top token.
const AGREE_F32: f64 = 0.995;
const AGREE_FAST: f64 = 0.99;
/// And the margin of the reference above which `fast` has it, always.
const SURE: f32 = 0.2;

/// A trial for each file on each backend.
pub fn trials(targets: &[Target]) -> Vec<Trial> {
    let both = [Precision::F32, Precision::Fast];
    let mut trials = Vec::new();
    for path in entries(&fixtures().join("real")).iter().flat_map(|folder| files(folder, "gguf")) {
        if is_quantised(&path) {
            let trial =
                |path: &Path, target: &Target, precision| forced(path, target, precision, &real(path)?);
            trials.extend(on_all(&path, targets, &both, trial));
        } else {
            let trial = |path: &Path, target: &Target, precision| told(path, target, precision, &real(path)?);
            trials.extend(on_all(&path, targets, &both, trial));
        }
    }
    for path in files(&demo(), "gguf") {
        // In f32 the carried model tells its stories in either format; with activations in int8 it is forced to.
        let trial = |path: &Path, target: &Target, precision: Precision| match is_quantised(path) {
            true if precision == Precision::Fast => forced(path, target, precision, &carried(path)?),
            _ => told(path, target, precision, &carried(path)?),
        };
        trials.extend(on_all(&path, targets, &both, trial));
    }
    trials
}

/// Whether any tensor is in blocks.
fn is_quantised(path: &Path) -> bool {
    let blocks = |id: u32| FORMATS.iter().any(|f| f.id == id && f.weights > 1);
    Gguf::open(path).is_ok_and(|file| file.tensors().iter().any(|t| blocks(t.kind.id)))
}

/// A prompt and what follows it.
struct Story {
    prompt: Vec<u32>,
    tokens: Vec<u32>,
    margins: Vec<f64>,
    /// Golden logits of the prompt, for the F32 file.
    logits: Option<PathBuf>,
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

/// The model continues every prompt with the golden tokens.
fn told(path: &Path, target: &Target, precision: Precision, stories: &[Story]) -> Outcome {
    let mut subject = Subject::open(path, target, precision)?;
    let margin = if precision == Precision::Fast { FAST_MARGIN } else { 0.0 };
    for (i, story) in stories.iter().enumerate() {
        if let Some(golden) = &story.logits {
            let tolerance = if precision == Precision::Fast { Tolerance::F16_CACHE } else { Tolerance::F32 };
            let (golden, cols) = npy(golden)?;
            near(&format!("prompt {i}"), &subject.logits(&story.prompt, false)?, &golden, cols, tolerance)?;
        }
        let found = subject.greedy(&story.prompt, story.tokens.len())?;
        same_tokens(&format!("prompt {i}"), &found, &story.tokens, &story.margins, margin)?;
    }
    Ok(())
}

/// Fed with the golden stories token by token, the model has the top token that the reference has on the same file in f32.
fn forced(path: &Path, target: &Target, precision: Precision, stories: &[Story]) -> Outcome {
    let texts: Vec<Vec<u32>> = stories.iter().map(|s| [&s.prompt[..], &s.tokens].concat()).collect();
    let reference = reference(path, &texts)?;
    if target.is_cpu() {
        // That is the reference: here it is held to its own way of decoding.
        let mut subject = Subject::open(path, target, precision)?;
        let found = tops(&subject.logits(&texts[0], true)?, subject.vocab());
        return agreement(&[found], &reference[..1], AGREE_F32, f32::INFINITY);
    }
    let mut subject = Subject::open(path, target, precision)?;
    let mut found = Vec::new();
    for text in &texts {
        found.push(tops(&subject.logits(text, true)?, subject.vocab()));
    }
    match precision {
        Precision::F32 => agreement(&found, &reference, AGREE_F32, f32::INFINITY),
        Precision::Fast => agreement(&found, &reference, AGREE_FAST, SURE),
    }
}

/// The most likely token at every position of a text, and its margin.
type Tops = Vec<(usize, f32)>;

fn agreement(found: &[Tops], reference: &[Tops], share: f64, sure: f32) -> Outcome {
    let (mut same, mut all) = (0, 0);
    for (text, (found, reference)) in found.iter().zip(reference).enumerate() {
        for (at, (found, reference)) in found.iter().zip(reference).enumerate() {
            all += 1;
            same += usize::from(found.0 == reference.0);
            if found.0 != reference.0 && reference.1 > sure {
                let ((found, _), (expected, margin)) = (found, reference);
                return Err(format!(
                    "text {text}, position {at}: {found}, the reference has {expected} by {margin}"
                )
                .into());
            }
        }
    }
    match same as f64 >= share * all as f64 && all > 0 {
        true => Ok(()),
        false => Err(format!("{same} of {all} top tokens are the reference's, expected {share}").into()),
    }
}

/// What the CPU has for each text in f32: computed once for a file, whichever trial comes first.
fn reference(path: &Path, texts: &[Vec<u32>]) -> Result<Arc<Vec<Tops>>, Failed> {
    type Slot = Arc<OnceLock<Result<Arc<Vec<Tops>>, String>>>;
    static KNOWN: LazyLock<Mutex<HashMap<PathBuf, Slot>>> = LazyLock::new(Mutex::default);
    let slot =
        KNOWN.lock().map_err(|_| "another trial panicked")?.entry(path.to_owned()).or_default().clone();
    let compute = || -> Result<Arc<Vec<Tops>>, Failed> {
        let mut subject = Subject::open(path, &Target::cpu(), Precision::F32)?;
        let vocab = subject.vocab();
        let all: Result<Vec<Tops>, Failed> =
            texts.iter().map(|text| Ok(tops(&subject.logits(text, false)?, vocab))).collect();
        Ok(Arc::new(all?))
    };
    let known = slot.get_or_init(|| compute().map_err(|e| e.message().unwrap_or_default().to_string()));
    known.clone().map_err(Failed::from)
}
