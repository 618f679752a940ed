//! What is planned on a software adapter is made when a step first runs it.

use std::ops::ControlFlow;

use libtest_mimic::Trial;
use wgllm::backend::Precision;
use wgllm::engine::Engine;
use wgllm::gguf::Gguf;
use wgllm::sampler::Sampling;
use wgllm::session::Session;

use crate::Outcome;
use crate::adapters::Target;
use crate::tiny_model::Llama;

pub fn trials(target: &Target) -> Vec<Trial> {
    let name = format!("pipelines are made when they first run on {}", target.label);
    let target = target.clone();
    vec![Trial::test(name, move || made(&target))]
}

/// Opening makes none or, on hardware, all; the second time makes none.
fn made(target: &Target) -> Outcome {
    let file = Gguf::from_static("tiny", Llama { format: "Q8_0", ..Llama::default() }.file().leak())?;
    let mut engine = Engine::with_file(file, &target.options(Precision::Fast), &mut |_, _| {})?;
    let (software, opened) = (engine.backend.device().software, engine.backend.pipelines_ms());
    let mut times = vec![opened];
    for _ in 0..2 {
        let mut session = Session::new(engine.backend.as_mut(), engine.plan, engine.model.vocab_size);
        session.generate(&[1, 2, 3], &Sampling::greedy(), Some(3), &mut |_| ControlFlow::Continue(()))?;
        times.push(engine.backend.pipelines_ms());
    }
    match (software, &times[..]) {
        (true, [opened, first, second]) if first > opened && second == first => Ok(()),
        (false, [opened, first, second]) if first == opened && second == first => Ok(()),
        _ => Err(format!("after opening and twice the same: {times:?} ms").into()),
    }
}
