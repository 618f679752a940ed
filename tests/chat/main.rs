//! Conversations as models meet them: golden renderings, Python's ways, people's text that stays text, and templates that
//! mean harm. Conversations that go on, and what of them is computed.

#[path = "../common/demands.rs"]
mod demands;
mod dialog;
#[path = "../common/fixtures.rs"]
mod fixtures;
#[path = "../common/gguf_file.rs"]
mod gguf_file;
mod golden;
mod guard;
#[allow(dead_code)] // The bounds of models' files are theirs.
#[path = "../models/heap.rs"]
mod heap;
mod hostile;
mod python;

use std::process::ExitCode;

use demands::must;
use libtest_mimic::{Arguments, Failed};

type Outcome = Result<(), Failed>;

fn main() -> ExitCode {
    let mut trials = golden::trials();
    trials.extend(guard::trials());
    trials.extend(python::trials());
    trials.extend(hostile::trials());
    trials.extend(dialog::trials());
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, got: T, expected: T) -> Outcome {
    must(got == expected, || format!("{what}:\n     got {got:?}\nexpected {expected:?}"))
}
