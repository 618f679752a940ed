//! Every op on every adapter of this machine against its reference, around the edges of tiles, under each mask. Values must agree
//! within the op's own bound, be written in full, and nothing may be written behind them.
//!
//! The nodes of a group are one graph, most of them independent of each other: pipelines are slow to make, steps are quick.

#[path = "../common/adapters.rs"]
mod adapters;
#[path = "../common/blocks.rs"]
mod blocks;
#[path = "../common/cases.rs"]
mod cases;
mod experts;
mod groups;
mod linears;
mod recurrent;
#[path = "../common/small_graph.rs"]
mod small_graph;
mod steps;
#[path = "../common/weights_file.rs"]
mod weights_file;

use libtest_mimic::{Arguments, Failed, Trial};
use wgllm::backend::RuntimeConfig;
use wgllm::check::{NodeReport, compare};
use wgllm::cpu::Cpu;
use wgllm::gpu::{self, AdapterLine, Gpu};
use wgllm::memory::{KV_FORMATS, Kv};

use groups::{GROUPS, Group, KEPT, KEPT_MANY, Variant};

/// What each run leaves out, since a software adapter takes a minute to make it and another trial has most of it; it runs with `--include-ignored`.
const LEFT_OUT: &[(&str, &str)] = &[
    // A format of each kind of unit meets these.
    ("linear", "f32, plans for a program"),
    ("linear", "f32, no subgroups"),
    ("linear", "f32, bounds checked"),
    ("linear of many rows", "fast, no matrix units"),
    ("linear of many rows", "fast, no subgroups"),
    ("experts of 512 rows", "f32"),
    ("experts of 512 rows", "f32, no subgroups"),
    ("experts of 512 rows", "f32, bindings of 1 MiB, bounds checked"),
    ("experts", "f32, no subgroups"),
    ("experts", "f32, bindings of 1 MiB, bounds checked"),
    // Kernels without subgroups and with bounds are those of the nodes one by one.
    ("experts as in a model", "f32"),
    ("experts as in a model", "fast, no subgroups"),
    ("attention of many rows", "fast, no subgroups"),
    ("attention", "fast, no subgroups"),
    ("attention", "fast, bounds checked"),
    // Shorter ones and fewer have all kinds of them.
    ("states of 2,000 rows", "f32"),
    ("states of 2,000 rows", "f32, bounds checked"),
    ("linear on matrix units, further counts", "fast, matrix units emulated"),
];

/// Failing nodes that are shown of a trial.
const SHOWN: usize = 12;

fn main() -> std::process::ExitCode {
    for (group, variant) in LEFT_OUT {
        let is_there = |g: &Group| g.name == *group && g.variants.iter().any(|v| v.0 == *variant);
        assert!(GROUPS.iter().any(is_there), "{group}: {variant} is none of the groups'");
    }
    let adapters = gpu::adapters();
    let mut trials = Vec::new();
    for adapter in &adapters {
        for group in GROUPS {
            for variant in group.variants {
                let left_out = LEFT_OUT.contains(&(group.name, variant.0));
                trials.push(trial(adapter, group, variant, Kv::of(variant.1)).with_ignored_flag(left_out));
            }
        }
        for (k, keys) in KV_FORMATS.iter().enumerate() {
            for (v, values) in KV_FORMATS.iter().enumerate() {
                for kept in [&KEPT, &KEPT_MANY] {
                    // What masks change does not depend on what the other of the two is kept in; and the other pairs are met by `check`.
                    let all = if k == v { kept.variants } else { &kept.variants[..1] };
                    for (i, variant) in all.iter().enumerate() {
                        // In each run packed blocks meet masks, and matrix units both that are no plain f32.
                        let many = kept.grouped;
                        let met =
                            k == v && if many { keys.name != "f32" } else { i == 0 || keys.name == "q8_0" };
                        let trial = trial(adapter, kept, variant, Kv { keys, values });
                        trials.push(trial.with_ignored_flag(!met));
                    }
                }
            }
        }
    }
    if adapters.is_empty() {
        let required = std::env::var_os("WGLLM_REQUIRE_ADAPTER").is_some_and(|v| v == "1");
        let name = "ops_agree_with_their_references (no adapter here)";
        let none = || Err("WGLLM_REQUIRE_ADAPTER is 1".into());
        trials.push(Trial::test(name, none).with_ignored_flag(!required));
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn trial(adapter: &AdapterLine, group: &'static Group, variant: &'static Variant, kv: Kv) -> Trial {
    let AdapterLine { index, info } = adapter;
    let kept = if kv == Kv::of(variant.1) { String::new() } else { format!(", KV in {}", kv.name()) };
    let name = format!("{} on {} ({}): {}{kept}", group.name, info.name, info.api, variant.0);
    let index = index.to_string();
    Trial::test(name, move || run(&index, group, variant, kv))
}

fn run(adapter: &str, group: &Group, &(_, precision, masks): &Variant, kv: Kv) -> Result<(), Failed> {
    let mut graph = Default::default();
    (group.build)(&mut graph);
    let opened = graph.open()?;
    let (file, model) = (&opened.file, &opened.model);
    let device = gpu::choose(None, Some(adapter), masks)?;
    let plan = RuntimeConfig { precision, kv, ..group.plan };
    // Mostly every node by a dispatch of its own: what fused kernels compute is held to the same references where whole models are.
    let mut gpu = Gpu::new(device, file.clone(), model.clone(), plan, !group.grouped, &mut |_, _| {})?;
    let mut cpu = Cpu::new(file.clone(), model.clone(), plan)?.by_references();
    let (mut nodes, mut failed) = (0, Vec::new());
    for (label, step) in (group.steps)() {
        let reports = compare(&mut gpu, &mut cpu, &model.graph, &step, &label)?;
        nodes += reports.len();
        failed.extend(reports.into_iter().filter(|r| !r.pass));
    }
    if failed.is_empty() {
        return Ok(());
    }
    let shown: Vec<String> = failed.iter().take(SHOWN).map(line).collect();
    Err(format!("{} of {nodes} nodes do not agree:\n{}", failed.len(), shown.join("\n")).into())
}

fn line(r: &NodeReport) -> String {
    let NodeReport { node, shape, kernel, step, bound, .. } = r;
    let nmse = r.nmse.unwrap_or_default();
    let out_of_bounds = if r.out_of_bounds { ", writes past its end" } else { "" };
    let worst = r.worst.map(|(at, cpu, gpu)| format!(", at {at:?} cpu {cpu:e}, gpu {gpu:e}"));
    let worst = worst.unwrap_or_default();
    format!("  {step}: {node} {shape:?} by {kernel}: {nmse:.1e}, bound {bound:.0e}{worst}{out_of_bounds}")
}
