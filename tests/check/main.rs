//! `check`: every dispatch of a model held to the reference, under every mask of what an adapter offers; that it notices a wrong
//! kernel; that generating keeps memory as it is, and can be repeated; that a profile is whole. Tiny models made in memory, and the golden
//! ones where they are.

#[path = "../common/adapters.rs"]
mod adapters;
#[path = "../common/blocks.rs"]
mod blocks;
mod experts;
#[path = "../common/fixtures.rs"]
mod fixtures;
#[path = "../common/gguf_file.rs"]
mod gguf_file;
mod golden;
mod kv;
mod large;
mod long;
mod made;
mod many;
mod memory;
mod mutation;
mod profile;
mod rows;
mod tiny;
#[path = "../common/tiny_model.rs"]
mod tiny_model;
mod twice;

use std::collections::HashSet;
use std::hash::Hash;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use wgllm::check::{Report, check};
use wgllm::engine::Options;
use wgllm::gguf::Gguf;
use wgllm::gpu::Masks;

use adapters::{HARDWARE, adapters, none_here};

type Outcome = Result<(), Failed>;

fn main() -> ExitCode {
    let targets = adapters();
    let mut trials = Vec::new();
    if targets.is_empty() {
        trials.push(none_here("check on an adapter"));
    }
    for target in &targets {
        let all = [
            tiny::trials,
            golden::trials,
            experts::trials,
            kv::trials,
            large::trials,
            long::trials,
            made::trials,
            many::trials,
            mutation::trials,
            memory::trials,
            profile::trials,
            rows::trials,
            twice::trials,
        ];
        trials.extend(all.iter().flat_map(|trials| trials(target)));
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// Everything that may be left out of an adapter, and kernels that check their bounds.
fn masks() -> Vec<(&'static str, Masks)> {
    let plain = HARDWARE;
    vec![
        ("no mask", plain),
        ("plans for a program", Masks { as_hardware: false, ..plain }),
        ("no subgroups", Masks { no_subgroups: true, ..plain }),
        ("subgroups said to be of 64", Masks { claimed_subgroup: Some(64), ..plain }),
        ("16 KiB of workgroup memory", Masks { max_workgroup: Some(16 << 10), ..plain }),
        ("bindings of 32 KiB", Masks { max_binding: Some(32 << 10), ..plain }),
        ("bounds checks", Masks { checked: true, ..plain }),
    ]
}

/// Each run makes the first change of each kernel or list; the others are ignored, and made with `--include-ignored`.
fn first_of_each<K: Eq + Hash>(changed: impl IntoIterator<Item = (K, Trial)>) -> Vec<Trial> {
    let mut known = HashSet::new();
    let first = |(of, trial): (K, Trial)| match known.insert(of) {
        true => trial,
        false => trial.with_ignored_flag(true),
    };
    changed.into_iter().map(first).collect()
}

/// Prefill of `rows` rows and two rows of decode.
fn run(file: Gguf, options: &Options, vocab: u32, rows: u32) -> Result<Report, Failed> {
    run_from(file, options, vocab, rows, 2)
}

/// The same with any number of rows of decode.
fn run_from(file: Gguf, options: &Options, vocab: u32, rows: u32, decode: usize) -> Result<Report, Failed> {
    let ids: Vec<u32> = (0..rows).map(|i| (i * 37 + 11) % vocab).collect();
    Ok(check(file, options, &ids, decode)?)
}

/// Fails with the first node that does not agree.
fn agrees(report: &Report) -> Outcome {
    match report.nodes.iter().find(|n| !n.pass) {
        None if report.nodes.is_empty() => Err("nothing was compared".into()),
        None => Ok(()),
        Some(n) => Err(format!("{} nodes differ, first {n:?}", report.failed()).into()),
    }
}
