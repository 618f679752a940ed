//! Two thousand tokens leave memory as it is.

use std::ops::ControlFlow;
use std::process::Command;

use libtest_mimic::Trial;
use wgllm::backend::Precision;
use wgllm::engine::{Engine, Options};
use wgllm::gguf::Gguf;
use wgllm::sampler::Sampling;
use wgllm::session::Session;

use crate::Outcome;
use crate::adapters::Target;
use crate::tiny_model::Llama;

/// Tokens behind which all kernels have run: those for long sequences do from position 1,024 on, and software adapters compile a
/// kernel when it first runs.
const SETTLED: usize = 1250;
/// Tokens between two looks at the memory.
const STRETCH: usize = 250;
/// Bytes that it may grow by between them: half a kilobyte kept of each token is as much.
const GROWTH: u64 = 128 << 10;
/// Set in the process that has one trial to run.
const ALONE: &str = "WGLLM_TRIAL_ALONE";

pub fn trials(target: &Target) -> Vec<Trial> {
    let target = target.clone();
    let linux = cfg!(target_os = "linux");
    let name = format!("2,000 tokens leave memory and buffers as they are on {}", target.label);
    let name = if linux { name } else { format!("{name} (read from /proc, which only Linux has)") };
    let own = name.clone();
    let run = move || if std::env::var_os(ALONE).is_some() { two_thousand(&target) } else { alone(&own) };
    vec![Trial::test(name, run).with_ignored_flag(!linux)]
}

/// Runs a trial in a process of its own: what other trials of this one allocate and free meanwhile is no part of the answer.
fn alone(name: &str) -> Outcome {
    let mut command = Command::new(std::env::current_exe()?);
    let output = command.args(["--exact", name, "--test-threads", "1"]).env(ALONE, "1").output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    match output.status.success() && said.contains("1 passed") {
        true => Ok(()),
        false => Err(format!("{said}{}", String::from_utf8_lossy(&output.stderr)).into()),
    }
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
    let mut session = Session::new(engine.backend.as_mut(), engine.plan, engine.model.vocab_size);
    let mut tokens = 0;
    session.generate(&[1, 2, 3], &Sampling::greedy(), Some(2000), &mut |_| {
        tokens += 1;
        if tokens >= SETTLED && (tokens - SETTLED).is_multiple_of(STRETCH) {
            marks.push(resident());
        }
        ControlFlow::Continue(())
    })?;
    if tokens != 2000 {
        return Err(format!("{tokens} tokens came, expected 2000").into());
    }
    // What a driver makes once grows one stretch; what is kept of every token grows them all.
    let marks = marks.into_iter().collect::<Result<Vec<u64>, _>>()?;
    let grown = marks.windows(2).filter(|mark| mark[1] > mark[0] + GROWTH).count();
    if grown > 1 {
        return Err(format!("from token {SETTLED} on, each {STRETCH} further, {marks:?} bytes").into());
    }
    let now = engine.backend.memory();
    match (held.buffers, held.scratch) == (now.buffers, now.scratch) && now.buffers > 0 {
        true => Ok(()),
        false => Err(format!("{held:?} on the device before, {now:?} after").into()),
    }
}
