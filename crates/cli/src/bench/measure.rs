//! What is measured, and how: the scheduler does the same as in `run`.

use std::fmt;
use std::time::Instant;

use wgllm_engine::Result;
use wgllm_engine::backend::DeviceInfo;
use wgllm_engine::engine::Engine;
use wgllm_engine::lookup::Drafts;
use wgllm_engine::memory::Kv;
use wgllm_engine::sampler::Sampling;
use wgllm_engine::scheduler::{Event, Request, Scheduler};

use crate::{ids, interrupt, plain};

/// Seed of the ids that prompts are made of: what they say does not matter, that they stay the same does.
const SEED: u64 = 42;

/// A prompt, a generation, or both.
pub struct Test {
    /// Tokens of the prompt.
    pub prompt: usize,
    /// Tokens that are generated.
    pub tokens: usize,
    /// Tokens in the context before the clock starts.
    pub depth: usize,
    /// Sequences at once, each of them with all of that.
    pub parallel: usize,
}

impl Test {
    /// Positions of the context that the test takes; a generation without a prompt begins at one token of its own.
    pub fn positions(&self) -> usize {
        self.depth.saturating_add(self.prompt.max(1)).saturating_add(self.tokens)
    }

    /// The position in the middle of what is generated.
    pub fn middle(&self) -> usize {
        self.depth + self.prompt.max(1) + self.tokens / 2
    }
}

/// `pp512`, `tg128`, `pp512+tg128`, each with ` @ d4096` at a depth, and `4 × tg128` of four sequences at once.
impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.parallel > 1 {
            write!(f, "{} × ", self.parallel)?;
        }
        match (self.prompt, self.tokens) {
            (prompt, 0) => write!(f, "pp{prompt}")?,
            (0, tokens) => write!(f, "tg{tokens}")?,
            (prompt, tokens) => write!(f, "pp{prompt}+tg{tokens}")?,
        }
        if self.depth > 0 { write!(f, " @ d{}", self.depth) } else { Ok(()) }
    }
}

/// What stays the same over the tests of one backend.
pub struct Setup {
    /// The model's file.
    pub file: String,
    /// Architecture, size and format.
    pub model: String,
    /// Bytes of its tensors.
    pub bytes: u64,
    /// Its weights.
    pub weights: u64,
    /// Bytes of weights that each token reads.
    pub bytes_per_token: u64,
    /// Bytes of weights on the device.
    pub device_bytes: u64,
    /// What it runs on.
    pub device: DeviceInfo,
    /// Layers on the GPU, in llama.cpp's way of saying all.
    pub gpu_layers: u32,
    /// Nodes that the CPU computes.
    pub cpu_nodes: usize,
    /// How long the pipelines took to make, in ms.
    pub pipelines_ms: f64,
    /// Rows of a prompt step.
    pub batch: usize,
    /// Threads of the CPU.
    pub threads: usize,
    /// How keys and values are kept.
    pub kv: Kv,
    /// Tokens of a draft at most.
    pub lookup: usize,
}

impl Setup {
    /// Of a loaded model; `batch` as it was asked for.
    pub fn of(engine: &Engine, batch: usize) -> Setup {
        let file = &engine.file;
        let device = engine.backend.device();
        Setup {
            file: file.name().into(),
            model: model_name(engine),
            bytes: file.tensors().iter().map(|t| t.bytes).sum(),
            weights: file.tensors().iter().map(|t| t.elements()).sum(),
            bytes_per_token: engine.model.bytes_per_token(),
            device_bytes: engine.backend.memory().weights,
            gpu_layers: if device.api == "cpu" { 0 } else { 99 },
            device,
            cpu_nodes: engine.backend.placement().cpu_nodes,
            pipelines_ms: engine.backend.pipelines_ms(),
            batch,
            threads: rayon::current_num_threads(),
            kv: engine.plan.kv,
            lookup: 0,
        }
    }
}

/// `llama 1B Q8_0`: the size by the file's own label if it has one, the format that most bytes are in.
fn model_name(engine: &Engine) -> String {
    let file = &engine.file;
    let label = file.metadata().str("general.size_label").ok().flatten().map(|l| plain::line(l).into_owned());
    let weights: u64 = file.tensors().iter().map(|t| t.elements()).sum();
    let size = label.unwrap_or_else(|| super::output::short(weights).replace(' ', ""));
    let mut formats: Vec<(&str, u64)> = Vec::new();
    for tensor in file.tensors() {
        match formats.iter_mut().find(|(name, _)| *name == tensor.kind.name) {
            Some((_, bytes)) => *bytes += tensor.bytes,
            None => formats.push((tensor.kind.name, tensor.bytes)),
        }
    }
    let most = formats.iter().max_by_key(|(_, bytes)| *bytes).map_or("", |(name, _)| name);
    format!("{} {size} {most}", engine.model.architecture)
}

/// How long each repetition took, in ns.
pub struct Samples {
    /// Nanoseconds.
    pub ns: Vec<u64>,
    /// Tokens per second.
    pub tps: Vec<f64>,
    /// Microseconds of a generated token after the first, where there were several.
    pub token_us: Vec<f64>,
    /// What came of drafts.
    pub drafts: Drafts,
}

/// Runs a test, `repetitions` times and once before that to warm up; `done` is called after each.
pub fn run(
    engine: &mut Engine,
    test: &Test,
    repetitions: usize,
    warm_up: bool,
    lookup: usize,
    done: impl Fn(),
) -> Result<Samples> {
    let vocab = engine.model.vocab_size;
    let mut scheduler = Scheduler::new(engine.backend.as_mut(), engine.plan, vocab);
    scheduler.look_up(lookup)?;
    let slots: Vec<u32> = (0..test.parallel).filter_map(|_| scheduler.open()).collect();
    // Each sequence says something else: what they had in common would be found out sooner or later.
    let prompt = |slot: u32| ids::random(SEED + slot as u64, test.depth + test.prompt.max(1), vocab);
    let prompts: Vec<Vec<u32>> = slots.iter().map(|&slot| prompt(slot)).collect();
    let mut samples =
        Samples { ns: Vec::new(), tps: Vec::new(), token_us: Vec::new(), drafts: Drafts::default() };
    for repetition in 0..repetitions + usize::from(warm_up) {
        interrupt::flag().check()?;
        for (&slot, prompt) in slots.iter().zip(&prompts) {
            scheduler.truncate(slot, 0);
            request(&mut scheduler, slot, &prompt[..test.depth], 0)?;
        }
        finish(&mut scheduler)?;
        let (start, drafts) = (Instant::now(), scheduler.drafts());
        for (&slot, prompt) in slots.iter().zip(&prompts) {
            request(&mut scheduler, slot, &prompt[test.depth..], test.tokens)?;
        }
        let first = finish(&mut scheduler)?;
        let elapsed = start.elapsed();
        let token_us = first
            .filter(|_| test.tokens > 1)
            .map(|first| (elapsed - (first - start)).as_secs_f64() * 1e6 / (test.tokens - 1) as f64);
        if warm_up && repetition == 0 {
            continue;
        }
        samples.token_us.extend(token_us);
        samples.drafts = samples.drafts + (scheduler.drafts() - drafts);
        samples.ns.push(elapsed.as_nanos() as u64);
        samples.tps.push((test.parallel * (test.prompt + test.tokens)) as f64 / elapsed.as_secs_f64());
        done();
    }
    Ok(samples)
}

/// Asks for `limit` greedy tokens behind `tokens`. Whatever comes, it goes on: end tokens are tokens like any other here.
fn request(scheduler: &mut Scheduler<'_>, slot: u32, tokens: &[u32], limit: usize) -> Result<()> {
    let tokens = tokens.to_vec();
    scheduler.request(slot, Request { tokens, sampling: Sampling::greedy(), limit: Some(limit) })
}

/// Computes until nothing is under way; when the first token came, if one did.
fn finish(scheduler: &mut Scheduler<'_>) -> Result<Option<Instant>> {
    let mut first = None;
    while scheduler.busy() {
        interrupt::flag().check()?;
        scheduler.advance(&mut |_, event| {
            if let Event::Token(_) = event {
                first.get_or_insert_with(Instant::now);
            }
            true
        })?;
    }
    Ok(first)
}

/// The value in the middle.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// Mean and standard deviation (of a sample: over n − 1).
pub fn mean_and_deviation(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    if values.len() < 2 {
        return (mean, 0.0);
    }
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (mean, variance.sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_named_as_llama_bench_names_them() {
        let cases = [
            ((512, 0, 0, 1), "pp512"),
            ((0, 128, 0, 1), "tg128"),
            ((0, 128, 0, 4), "4 × tg128"),
            ((512, 128, 0, 1), "pp512+tg128"),
            ((0, 32, 4096, 1), "tg32 @ d4096"),
        ];
        for ((prompt, tokens, depth, parallel), name) in cases {
            assert_eq!(Test { prompt, tokens, depth, parallel }.to_string(), name);
        }
    }

    #[test]
    fn one_sample_has_no_deviation() {
        assert_eq!(mean_and_deviation(&[3.0]), (3.0, 0.0));
        assert_eq!(mean_and_deviation(&[2.0, 4.0]), (3.0, 2f64.sqrt()));
    }
}
