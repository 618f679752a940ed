//! What is demanded of a model on a backend: each a few lines that say in which position, by how much, and what was allowed.

use std::ops::ControlFlow;
use std::path::Path;

use libtest_mimic::Failed;
use wgllm::backend::Precision;
use wgllm::engine::{Engine, Options};
use wgllm::gguf::Gguf;
use wgllm::sampler::Sampling;
use wgllm::session::Session;

use crate::Outcome;
use crate::adapters::Target;

/// How far logits may be from golden ones.
#[derive(Clone, Copy, Debug)]
pub struct Tolerance {
    /// Of any logit.
    pub largest: f32,
    /// Root of the mean square over all.
    pub rms: f64,
}

impl Tolerance {
    /// F32 arithmetic and an F32 cache: the fixtures' README asks for 1e-3.
    pub const F32: Tolerance = Tolerance { largest: 1e-3, rms: 1e-3 };
    /// An F16 cache: the README asks for 1e-1, and saw 1e-2 to 4e-2.
    pub const F16_CACHE: Tolerance = Tolerance { largest: 1e-1, rms: 2e-2 };
    /// Activations in 8 bits: what the README saw of llama.cpp, 0.3 to 0.7 and 0.07 to 0.12.
    pub const INT8: Tolerance = Tolerance { largest: 0.7, rms: 0.12 };
}

/// A model on a backend.
pub struct Subject {
    engine: Engine,
}

impl Subject {
    /// Opens a model, and demands that all of it runs where it was asked to.
    pub fn open(path: &Path, target: &Target, precision: Precision) -> Result<Subject, Failed> {
        Subject::with_file(Gguf::open(path)?, target, precision)
    }

    /// The same of an opened file.
    pub fn with_file(file: Gguf, target: &Target, precision: Precision) -> Result<Subject, Failed> {
        Subject::with_options(file, target, &target.options(precision))
    }

    /// A model in f32 for a context of so many positions.
    pub fn with_context(path: &Path, target: &Target, context: usize) -> Result<Subject, Failed> {
        let options = Options { context: Some(context), ..target.options(Precision::F32) };
        Subject::with_options(Gguf::open(path)?, target, &options)
    }

    /// The same with whatever options.
    pub fn with_options(file: Gguf, target: &Target, options: &Options) -> Result<Subject, Failed> {
        let engine = Engine::with_file(file, options, &mut |_, _| {})?;
        let placement = engine.backend.placement();
        if placement.layers_run != placement.block_count {
            return Err(format!("{} of {} layers run", placement.layers_run, placement.block_count).into());
        }
        if !target.is_cpu() && placement.cpu_nodes != 0 {
            return Err(format!("{} nodes run on the CPU", placement.cpu_nodes).into());
        }
        Ok(Subject { engine })
    }

    /// Whether it runs on a software adapter, or on the CPU.
    pub fn is_software(&self) -> bool {
        self.engine.backend.device().software
    }

    /// The model's file.
    pub fn file(&self) -> &Gguf {
        &self.engine.file
    }

    /// A session without tokens.
    pub fn session(&mut self) -> Session<'_> {
        let vocab = self.engine.model.vocab_size;
        Session::new(self.engine.backend.as_mut(), self.engine.plan, vocab)
    }

    /// Logits of every position, row by row: all rows at once, or one step a token as in decoding.
    pub fn logits(&mut self, ids: &[u32], one_by_one: bool) -> Result<Vec<f32>, Failed> {
        let mut logits = Vec::new();
        let mut session = self.session();
        for ids in ids.chunks(if one_by_one { 1 } else { ids.len().max(1) }) {
            session.logits(ids, &mut |rows| logits.extend_from_slice(rows))?;
        }
        Ok(logits)
    }

    /// Logits of the last positions, behind a prefill of those before.
    pub fn last_logits(&mut self, ids: &[u32], last: usize) -> Result<Vec<f32>, Failed> {
        let mut logits = Vec::new();
        let mut session = self.session();
        let (before, outputs) = ids.split_at(ids.len().saturating_sub(last));
        session.prefill(before)?;
        session.logits(outputs, &mut |rows| logits.extend_from_slice(rows))?;
        Ok(logits)
    }

    /// The most likely tokens behind a prompt.
    pub fn greedy(&mut self, prompt: &[u32], count: usize) -> Result<Vec<u32>, Failed> {
        let mut tokens = Vec::new();
        self.session().generate(prompt, &Sampling::greedy(), Some(count), &mut |token| {
            tokens.push(token);
            ControlFlow::Continue(())
        })?;
        Ok(tokens)
    }

    /// The most likely token behind a prompt and behind each but the last of the tokens that are fed one by one.
    pub fn following(&mut self, prompt: &[u32], tokens: &[u32]) -> Result<Vec<u32>, Failed> {
        let fed = [prompt, tokens].concat();
        let logits = self.logits(&fed[..fed.len() - 1], true)?;
        Ok(tops(&logits, self.vocab())[prompt.len() - 1..].iter().map(|top| top.0 as u32).collect())
    }

    pub fn vocab(&self) -> usize {
        self.engine.model.vocab_size
    }
}

/// Demands that logits are as near to golden ones as `tolerance` says.
pub fn near(what: &str, found: &[f32], golden: &[f32], cols: usize, tolerance: Tolerance) -> Outcome {
    if found.len() != golden.len() {
        return Err(format!("{what}: {} logits, expected {}", found.len(), golden.len()).into());
    }
    let difference = |i: usize| {
        let d = (found[i] - golden[i]).abs();
        if d.is_nan() { f32::INFINITY } else { d }
    };
    let worst = (0..found.len()).max_by(|&a, &b| difference(a).total_cmp(&difference(b)));
    let worst = worst.ok_or_else(|| format!("{what}: no logits"))?;
    let square: f64 = (0..found.len()).map(|i| f64::from(difference(i)).powi(2)).sum();
    let (largest, rms) = (difference(worst), (square / found.len() as f64).sqrt());
    if largest > tolerance.largest || rms > tolerance.rms {
        let (row, token) = (worst / cols, worst % cols);
        let (found, golden) = (found[worst], golden[worst]);
        return Err(format!(
            "{what}: position {row}, token {token}: {found}, golden {golden}, {largest:e} apart; \
             {rms:e} in the mean; allowed {tolerance:?}"
        )
        .into());
    }
    Ok(())
}

/// Demands the golden tokens. The first that is another may be so only where the golden margin, best logit minus second best, is at
/// most `least`; what follows it is another text.
pub fn same_tokens(what: &str, found: &[u32], golden: &[u32], margins: &[f64], least: f64) -> Outcome {
    let Some(at) = (0..found.len().max(golden.len())).find(|&i| found.get(i) != golden.get(i)) else {
        return Ok(());
    };
    match margins.get(at) {
        Some(&margin) if at < found.len() && margin <= least => Ok(()),
        margin => Err(format!(
            "{what}: token {at} is {:?}, golden {:?}, by a margin of {margin:?}, above {least}",
            found.get(at),
            golden.get(at)
        )
        .into()),
    }
}

/// Demands the golden tokens of a model that was fed with them, wherever the golden margin is above `least`.
pub fn same_where_sure(what: &str, found: &[u32], golden: &[u32], margins: &[f64], least: f64) -> Outcome {
    let tokens = found.iter().zip(golden).zip(margins).enumerate();
    match tokens.into_iter().find(|(_, ((found, golden), margin))| found != golden && **margin > least) {
        None => Ok(()),
        Some((i, ((found, golden), margin))) => {
            Err(format!("{what}: fed token {i} is {found}, golden {golden}, by a margin of {margin}").into())
        }
    }
}

/// Of each row, the most likely token and by how much it is ahead of the next.
pub fn tops(logits: &[f32], cols: usize) -> Vec<(usize, f32)> {
    let top = |row: &[f32]| {
        let best = (0..cols).max_by(|&a, &b| row[a].total_cmp(&row[b]).then(b.cmp(&a))).unwrap_or(0);
        let second = (0..cols).filter(|&i| i != best).map(|i| row[i]).fold(f32::NEG_INFINITY, f32::max);
        (best, row[best] - second)
    };
    logits.chunks_exact(cols).map(top).collect()
}

/// KL(reference || found) in nats, the mean over the rows: what an ideal code for the reference's tokens loses by believing `found`.
/// Not a number where a logit is none.
pub fn divergence(reference: &[f32], found: &[f32], cols: usize) -> f64 {
    let rows = reference.chunks_exact(cols).zip(found.chunks_exact(cols));
    let each = rows.map(|(reference, found)| {
        let (p, q) = (log_softmax(reference), log_softmax(found));
        p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum::<f64>()
    });
    each.sum::<f64>() / (reference.len() / cols) as f64
}

fn log_softmax(logits: &[f32]) -> Vec<f64> {
    let most = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let sum: f64 = logits.iter().map(|&l| (f64::from(l) - most).exp()).sum();
    logits.iter().map(|&l| f64::from(l) - most - sum.ln()).collect()
}
