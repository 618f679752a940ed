//! A seed says what is generated: asked for again in one process, with whatever the first time left on the device, the tokens are
//! the same.

use std::ops::ControlFlow;

use libtest_mimic::{Failed, Trial};
use wgllm::backend::Precision;
use wgllm::engine::Engine;
use wgllm::gguf::Gguf;
use wgllm::sampler::Sampling;
use wgllm::session::Session;

use crate::Outcome;
use crate::adapters::Target;
use crate::tiny_model::Llama;

/// Several submissions, of which the last is cut short.
const TOKENS: usize = 60;

pub fn trials(target: &Target) -> Vec<Trial> {
    let name = format!("the same seed gives the same tokens again on {}", target.label);
    let target = target.clone();
    vec![Trial::test(name, move || repeats(&target))]
}

fn repeats(target: &Target) -> Outcome {
    let model = Llama { format: "Q8_0", head_dim: 32, ..Llama::default() };
    let file = Gguf::from_static("tiny", model.file().leak())?;
    let mut engine = Engine::with_file(file, &target.options(Precision::Fast), &mut |_, _| {})?;
    let (config, vocab) = (engine.plan, engine.model.vocab_size);
    let mut session = Session::new(engine.backend.as_mut(), config, vocab);
    let mut tokens = |seed| -> Result<Vec<u32>, Failed> {
        let mut tokens = Vec::new();
        // What was said counts here: that of the generation before must not.
        let sampling = Sampling { temperature: 1.0, repeat_penalty: 1.1, seed, ..Sampling::default() };
        session.clear();
        session.generate(&[1, 2, 3], &sampling, Some(TOKENS), &mut |token| {
            tokens.push(token);
            ControlFlow::Continue(())
        })?;
        Ok(tokens)
    };
    let (first, other, again) = (tokens(11)?, tokens(12)?, tokens(11)?);
    if first.len() != TOKENS || other == first {
        return Err(format!("seeds 11 and 12 give {first:?} and {other:?}").into());
    }
    match again == first {
        true => Ok(()),
        false => Err(format!("{first:?}, then {again:?}").into()),
    }
}
