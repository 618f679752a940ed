//! Two thousand tokens leave memory as it is.

use std::ops::ControlFlow;

use libtest_mimic::Trial;
use wgllm::backend::Precision;
use wgllm::engine::{Engine, Options};
use wgllm::gguf::Gguf;
use wgllm::sampler::Sampling;
use wgllm::session::Session;

use crate::Outcome;
use crate::adapters::Target;
use crate::tiny_model::Llama;

pub fn trials(target: &Target) -> Vec<Trial> {
    let target = target.clone();
    let linux = cfg!(target_os = "linux");
    let name = format!("2,000 tokens leave memory and buffers as they are on {}", target.label);
    let name = if linux { name } else { format!("{name} (read from /proc, which only Linux has)") };
    vec![Trial::test(name, move || two_thousand(&target)).with_ignored_flag(!linux)]
}

/// Bytes of this process in memory.
fn resident() -> Result<u64, libtest_mimic::Failed> {
    let status = std::fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = status.split(' ').nth(1).ok_or("statm has no second number")?.parse()?;
    Ok(pages * 4096)
}

fn two_thousand(target: &Target) -> Outcome {
    let file =
        Gguf::from_static("tiny", Llama { layers: 1, context: 2048, ..Llama::default() }.file().leak())?;
    let options = Options { context: Some(2048), ..target.options(Precision::Fast) };
    let mut engine = Engine::with_file(file, &options, &mut |_, _| {})?;
    let held = engine.backend.memory();
    let mut marks = Vec::new();
    let mut session = Session::new(engine.backend.as_mut(), 2048, engine.model.vocab_size);
    let mut tokens = 0;
    session.generate(&[1, 2, 3], &Sampling::greedy(), Some(2000), &mut |_| {
        tokens += 1;
        if tokens == 500 || tokens == 2000 {
            marks.push(resident());
        }
        ControlFlow::Continue(())
    })?;
    if tokens != 2000 {
        return Err(format!("{tokens} tokens came, expected 2000").into());
    }
    // What is freed late is not a leak: 1,500 tokens that kept a kilobyte each would show.
    let (early, late) = (marks.remove(0)?, marks.remove(0)?);
    if late > early + (1 << 20) {
        return Err(format!("{early} bytes after 500 tokens, {late} after 2000").into());
    }
    let now = engine.backend.memory();
    match (held.buffers, held.scratch) == (now.buffers, now.scratch) && now.buffers > 0 {
        true => Ok(()),
        false => Err(format!("{held:?} on the device before, {now:?} after").into()),
    }
}
