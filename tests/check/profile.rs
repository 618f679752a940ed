//! A profile tells of every dispatch of a step, and leaves what is generated as it was.

use std::ops::ControlFlow;

use libtest_mimic::Trial;
use wgllm::backend::{Precision, Profile};
use wgllm::engine::{Engine, Options};
use wgllm::gguf::Gguf;
use wgllm::graph::Kind;
use wgllm::ops::Op;
use wgllm::sampler::Sampling;
use wgllm::session::Session;

use crate::Outcome;
use crate::adapters::Target;
use crate::tiny_model::Llama;

/// More than one workgroup's positions of attention.
const FAR: u32 = 1100;

pub fn trials(target: &Target) -> Vec<Trial> {
    let (on, cpu) = (target.clone(), Target::cpu());
    vec![
        Trial::test(format!("a profile has every dispatch of a step on {}", target.label), move || all(&on)),
        Trial::test("a profile of the CPU is an error", move || none(&cpu)),
    ]
}

fn open(target: &Target) -> wgllm::Result<Engine> {
    let model = Llama { head_dim: 32, context: 1152, format: "Q8_0", ..Llama::default() };
    let file = Gguf::from_static("tiny", model.file().leak())?;
    let options = Options { context: Some(1152), ..target.options(Precision::Fast) };
    Engine::with_file(file, &options, &mut |_, _| {})
}

fn none(target: &Target) -> Outcome {
    match open(target)?.backend.profile(0, 1) {
        Err(wgllm::Error::Device(what)) if what.contains("no timestamps") => Ok(()),
        other => Err(format!("{other:?}").into()),
    }
}

fn all(target: &Target) -> Outcome {
    let mut engine = open(target)?;
    if engine.backend.can_profile().is_err() {
        return Ok(()); // an adapter without timestamps says so itself
    }
    let before = story(&mut engine)?;
    let near = engine.backend.profile(3, 1)?;
    let launches = engine.backend.placement().dispatches_per_token;
    covers(&near, launches)?;
    // Every matrix once, and of the embedding a row.
    let read =
        |name: &str| near.groups.iter().filter(|g| g.kernel.starts_with(name)).map(|g| g.weight_bytes).sum();
    let (matrices, row) = weights(&engine);
    equal("bytes of weights", [read("matvec"), read("embed")], [matrices, row])?;
    // Keys and values of 2 layers, 2 heads of 32, 4 positions, in f16.
    equal("bytes of keys and values", cache(&near), 2 * 2 * 2 * 32 * 4 * 2)?;

    let far = engine.backend.profile(FAR, 1)?;
    equal("bytes of keys and values", cache(&far), 2 * 2 * 2 * 32 * (FAR as u64 + 1) * 2)?;
    // Attention in spans, and a dispatch in each of the 2 layers that joins them.
    covers(&far, launches + 2)?;
    equal("what is generated", story(&mut engine)?, before)?;
    match engine.backend.profile(1152, 1) {
        Err(wgllm::Error::Usage(_)) => Ok(()),
        other => Err(format!("a profile past the context: {other:?}").into()),
    }
}

fn covers(profile: &Profile, dispatches: usize) -> Outcome {
    equal("dispatches", profile.groups.iter().map(|g| g.count).sum(), dispatches)?;
    let timed = |us: f64| us.is_finite() && us >= 0.0;
    // Where others use the machine, an empty pass may take longer than a small dispatch: what is left of that one is then 0.
    let taken = profile.step_us + profile.pass_us > 0.0 && profile.sum_us() > 0.0;
    match taken && profile.groups.iter().all(|g| timed(g.us) && timed(g.rate())) {
        true => Ok(()),
        false => Err(format!("{profile:?}").into()),
    }
}

fn cache(profile: &Profile) -> u64 {
    profile.groups.iter().map(|g| g.cache_bytes).sum()
}

/// Bytes of the matrices that are multiplied, and of a row of the embedding.
fn weights(engine: &Engine) -> (u64, u64) {
    let graph = &engine.model.graph;
    let (mut matrices, mut row) = (0, 0);
    for (_, entry) in graph.nodes() {
        let Some((op, inputs)) = entry.op() else { continue };
        let Some(at) = op.matrix_input() else { continue };
        let Kind::Weight(w) = &graph.entry(inputs[at]).kind else { continue };
        let bytes = |cols: usize| {
            w.format.planes.iter().map(|p| w.format.plane_row_bytes(p, cols) as u64).sum::<u64>()
        };
        match op {
            Op::Embed(_) => row = bytes(w.cols),
            _ => matrices += bytes(w.cols) * w.rows as u64,
        }
    }
    (matrices, row)
}

fn story(engine: &mut Engine) -> wgllm::Result<Vec<u32>> {
    let vocab = engine.model.vocab_size;
    let mut tokens = Vec::new();
    let mut session = Session::new(engine.backend.as_mut(), engine.plan, vocab);
    session.generate(&[1, 2, 3], &Sampling::greedy(), Some(20), &mut |token| {
        tokens.push(token);
        ControlFlow::Continue(())
    })?;
    Ok(tokens)
}

fn equal<T: PartialEq + std::fmt::Debug>(what: &str, got: T, expected: T) -> Outcome {
    match got == expected {
        true => Ok(()),
        false => Err(format!("{what}: {got:?}, expected {expected:?}").into()),
    }
}
