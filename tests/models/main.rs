//! Tiny models made in memory: what is no model is refused by name, and what is one gives the same numbers on every adapter of
//! this machine as on the CPU. Needs no fixtures.

#[path = "../common/blocks.rs"]
mod blocks;
mod dispatches;
#[path = "../common/fixtures.rs"]
mod fixtures;
mod fuzz;
#[path = "../common/gguf_file.rs"]
mod gguf_file;
mod heap;
mod layers;
mod others;
mod refused;
#[path = "../../examples/supported.rs"]
mod supported;
#[path = "../common/tiny_model.rs"]
mod tiny_model;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use wgllm::error::Result;
use wgllm::gguf::Gguf;
use wgllm::models::Model;
use wgllm::tokenizer::Tokenizer;

type Outcome = Result<(), Failed>;

fn main() -> ExitCode {
    let all = [refused::trials, others::trials, layers::trials, fuzz::trials, dispatches::trials];
    let mut trials: Vec<Trial> = all.into_iter().flat_map(|trials| trials()).collect();
    trials.push(Trial::test("README has the tables of what runs", readme));
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// What `cargo run --example supported` prints.
fn readme() -> Outcome {
    let readme = include_str!("../../README.md").replace("\r\n", "\n");
    let tables = supported::tables();
    match tables.lines().find(|line| !readme.contains(line)) {
        Some(line) => Err(format!("README.md has no line {line:?}").into()),
        None if readme.contains(&tables) => Ok(()),
        None => Err("README.md has lines between those of the tables".into()),
    }
}

/// Everything that is read of a file before any backend sees it.
fn load(bytes: &'static [u8]) -> Result<(Gguf, Model)> {
    let file = Gguf::from_static("tiny.gguf", bytes)?;
    let model = Model::from_gguf(&file, None)?;
    Tokenizer::from_metadata(file.metadata()).map_err(|e| e.in_file(file.name().as_ref()))?;
    Ok((file, model))
}
