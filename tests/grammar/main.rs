//! Answers that keep to schemas and grammars: on the CPU and on every adapter, from models that know nothing of what they are asked.

#[path = "../common/adapters.rs"]
mod adapters;
mod ahead;
mod answers;
#[path = "../common/blocks.rs"]
mod blocks;
#[path = "../common/byte_model.rs"]
mod byte_model;
mod calls;
#[path = "../common/demands.rs"]
mod demands;
#[path = "../common/fixtures.rs"]
mod fixtures;
#[path = "../common/gguf_file.rs"]
mod gguf_file;
#[path = "../common/json_schema.rs"]
mod json_schema;
mod mistakes;
mod schemas;
mod suite;
#[path = "../common/tiny_model.rs"]
mod tiny_model;
mod vocabularies;
#[path = "../common/wrapped.rs"]
mod wrapped;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};

use adapters::{Target, adapters, none_here};

type Outcome = Result<(), Failed>;
type OnCpu = (&'static str, fn() -> Outcome);

fn main() -> ExitCode {
    let on_cpu: &[OnCpu] = &[
        ("1,000 answers to 20 schemas are valid", answers::thousand),
        ("an answer goes on where it was broken off, and ends with its limit", answers::broken_off),
        ("regular expressions and Lark are kept to", answers::other_languages),
        ("a model thinks first", answers::thoughts),
        ("a batch that waits for masks is computed beside the one before it", answers::overlapping),
        ("all forms of calls are read as they are forced", calls::forms),
        ("calls of strict tools are held to their schemas wherever they begin", calls::begun),
        ("what is wrong with a schema is told with its place", mistakes::schemas),
        ("what is wrong with a grammar is told", mistakes::grammars_),
        ("what nobody could keep to is refused before it is tried", mistakes::bounds),
    ];
    let mut trials: Vec<Trial> = on_cpu.iter().map(|&(name, run)| Trial::test(name, run)).collect();
    trials.extend(vocabularies::trials());
    trials.extend(suite::trials());
    let devices = adapters();
    if devices.is_empty() {
        trials.push(none_here("constraints on an adapter"));
    }
    for target in devices {
        let name = format!("masked answers are the CPU's, beside others, on {}", target.label);
        trials.push(Trial::test(name, move || answers::as_on_the_cpu(&target)));
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// The CPU.
fn cpu() -> Target {
    Target::cpu()
}
