//! Trained models fed with 512 tokens of their stories in one context, a step for each token as in decoding: `fast` must keep what a
//! reader would notice, the top token and the distribution. The reference is the CPU, in f32, on the same weights.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex, OnceLock};

use libtest_mimic::{Failed, Trial};
use wgllm::backend::Precision;
use wgllm::gguf::Gguf;

use crate::adapters::{self, Target};
use crate::asserts::{Subject, divergence, tops};
use crate::fixtures::{demo, unknown};
use crate::stories::{is_quantised, paths, stories};
use crate::{Outcome, TRAINED, q4_k_m, short};

/// Fed tokens: the whole context of either model.
const POSITIONS: usize = 512;
/// The share of positions that have the reference's top token.
const AGREE_F32: f64 = 0.995;
const AGREE_FAST: f64 = 0.99;
/// With a minimum for each block, which rounding of activations meets twice: of 512 positions 1 % are 5 ± 2.3, and two deviations more are allowed.
const AGREE_AFFINE: f64 = 0.98;
/// The margin of the reference, best logit minus second best, above which its top token is found, always: in f32 twice the tolerance
/// of a logit.
const SURE_F32: f32 = 2e-3;
const SURE_FAST: f32 = 0.2;
/// KL(reference || fast) in nats, the mean over the positions: for activations in int8 what is asked for with Q4_K_M and with Q8_0;
/// elsewhere half the square of the root mean square, 2e-2, that an F16 cache may move logits by.
const DIVERGENCE_4_BITS: f64 = 5e-3;
const DIVERGENCE_8_BITS: f64 = 1e-3;
const DIVERGENCE_FLOAT: f64 = 2e-4;

/// A trained model.
#[derive(Clone)]
struct Case {
    /// For the names of trials.
    name: String,
    path: PathBuf,
    /// Not the file itself, but a Q4_K_M made of it.
    made: bool,
}

impl Case {
    fn open(&self) -> Result<Gguf, Failed> {
        let file = Gguf::open(&self.path)?;
        match self.made {
            false => Ok(file),
            true => Ok(Gguf::from_static(&self.name, q4_k_m::made_of(&file)?.leak())?),
        }
    }

    /// The golden stories, one behind the other.
    fn text(&self) -> Result<Vec<u32>, Failed> {
        let stories = stories(&self.path)?;
        let text: Vec<u32> =
            stories.into_iter().flat_map(|s| [s.prompt, s.tokens].concat()).take(POSITIONS).collect();
        match text.len() {
            POSITIONS => Ok(text),
            n => Err(format!("the stories have {n} tokens, expected {POSITIONS}").into()),
        }
    }
}

/// What each run feeds to an adapter, in `fast`; the others, which take a software adapter minutes, are ignored.
const MET: &str = "demo/demo-q8_0.gguf";

/// For each file a trial on each adapter in `fast`, and for a quantised one, whose golden tokens are not its own, in f32 and on the
/// CPU, too.
pub fn trials(targets: &[Target]) -> Vec<Trial> {
    let mut trials = Vec::new();
    let mut cases = Vec::new();
    for path in paths() {
        let name = format!("{POSITIONS} positions of {}", short(&path));
        match unknown(&path) {
            None => cases.push(Case { name, path, made: false }),
            Some(reason) => {
                trials.push(Trial::test(format!("{name} ({reason})"), || Ok(())).with_ignored_flag(true));
            }
        }
    }
    let f16 = demo().join("demo-f16.gguf");
    if f16.is_file() {
        let name = format!("{POSITIONS} positions of {} made Q4_K_M", short(&f16));
        cases.push(Case { name, path: f16, made: true });
    }
    for case in cases {
        let blocks = case.made || is_quantised(&case.path);
        let cpu = blocks.then(|| (Target::cpu(), Precision::F32));
        let f32 = targets.iter().filter(|_| blocks).map(|t| (t.clone(), Precision::F32));
        let fast = targets.iter().map(|t| (t.clone(), Precision::Fast));
        for (target, precision) in cpu.into_iter().chain(f32).chain(fast) {
            let name = format!("{} in {} on {}", case.name, adapters::name(precision), target.label);
            let met =
                target.is_cpu() || (precision == Precision::Fast && short(&case.path) == MET && !case.made);
            let case = case.clone();
            let trial = Trial::test(name, move || forced(&case, &target, precision));
            trials.push(trial.with_kind(TRAINED).with_ignored_flag(!met));
        }
    }
    trials
}

fn forced(case: &Case, target: &Target, precision: Precision) -> Outcome {
    let text = case.text()?;
    // On the CPU, its decoding is held to its prefill.
    let reference = reference(case, &text)?;
    let mut subject = Subject::with_file(case.open()?, target, precision)?;
    let (found, cols) = (subject.logits(&text, true)?, subject.vocab());
    let (share, sure, allowed) = match precision {
        Precision::F32 => (AGREE_F32, SURE_F32, DIVERGENCE_FLOAT),
        Precision::Fast if has_minimums(subject.file()) => {
            (AGREE_AFFINE, SURE_FAST, allowed_divergence(subject.file()))
        }
        Precision::Fast => (AGREE_FAST, SURE_FAST, allowed_divergence(subject.file())),
    };
    let (found_tops, reference_tops) = (tops(&found, cols), tops(&reference, cols));
    let others: Vec<usize> = (0..POSITIONS).filter(|&at| found_tops[at].0 != reference_tops[at].0).collect();
    let same = POSITIONS - others.len();
    let diverges = divergence(&reference, &found, cols);

    let mut wrong = Vec::new();
    if let Some(&at) = others.iter().find(|&&at| reference_tops[at].1 > sure) {
        let (found, (expected, margin)) = (found_tops[at].0, reference_tops[at]);
        wrong.push(format!("position {at} has {found}, the reference {expected} by {margin}, above {sure}"));
    }
    if (same as f64) < share * POSITIONS as f64 {
        wrong.push(format!("{same} of {POSITIONS} top tokens are the reference's, expected {share}"));
    }
    if diverges.is_nan() || diverges > allowed {
        wrong.push(format!("the reference diverges by {diverges:e} nats in the mean, allowed {allowed:e}"));
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ").into()) }
}

/// Whether a file's weights are of the formats with a minimum that no agreement was asked of.
fn has_minimums(file: &Gguf) -> bool {
    file.tensors().iter().any(|t| matches!(t.kind.name, "Q4_1" | "Q5_1"))
}

/// In `fast`, by the weights: what a matrix of floats rounds is the cache alone.
fn allowed_divergence(file: &Gguf) -> f64 {
    let any = |test: fn(&str) -> bool| file.tensors().iter().any(|t| test(t.kind.name));
    if any(|name| name.starts_with("Q4_")) {
        DIVERGENCE_4_BITS
    } else if any(|name| name.starts_with('Q')) {
        DIVERGENCE_8_BITS
    } else {
        DIVERGENCE_FLOAT
    }
}

/// What the CPU has for the text in f32: computed once for a model, whichever trial comes first.
fn reference(case: &Case, text: &[u32]) -> Result<Arc<Vec<f32>>, Failed> {
    type Slot = Arc<OnceLock<Result<Arc<Vec<f32>>, String>>>;
    static KNOWN: LazyLock<Mutex<HashMap<String, Slot>>> = LazyLock::new(Mutex::default);
    let slot =
        KNOWN.lock().map_err(|_| "another trial panicked")?.entry(case.name.clone()).or_default().clone();
    let compute = || -> Result<Arc<Vec<f32>>, Failed> {
        let mut subject = Subject::with_file(case.open()?, &Target::cpu(), Precision::F32)?;
        Ok(Arc::new(subject.logits(text, false)?))
    };
    let known = slot.get_or_init(|| compute().map_err(|e| e.message().unwrap_or_default().to_string()));
    known.clone().map_err(Failed::from)
}
