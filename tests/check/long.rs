//! Decoding behind many positions, which are attended to in spans that are then joined: behind few, these kernels do not run.

use libtest_mimic::Trial;
use wgllm::backend::Precision;
use wgllm::engine::Options;
use wgllm::gguf::Gguf;
use wgllm::gpu::Masks;

use crate::adapters::{HARDWARE, Target};
use crate::tiny_model::{Llama, gpt_oss, llama4};
use crate::{Outcome, agrees, first_of_each, run_from};

/// Positions before those that are decoded: decoding crosses from one workgroup for a head to spans, and from spans to longer ones.
const LONGER: u32 = 2046;
/// The same of several rows.
const SEVERAL_LONGER: u32 = 4094;

/// The same: decoding crosses from one workgroup for a head to spans, and from a span to the next.
fn before(head_dim: usize) -> u32 {
    match head_dim {
        ..128 => 1022,
        128..256 => 510,
        _ => 254,
    }
}

const DECODED: usize = 4;
/// Kernel, what is in it, what is put in its place.
const MUTATIONS: &[(&str, &str, &str)] = &[
    ("attend_partial", "score_scale(row.z);", "score_scale(row.z) * 1.02;"),
    ("attend_combine", "ends[k].y", "ends[k].y * 1.05"),
    ("attend_combine", "found.y;", "found.y * 1.05;"),
    ("attend_combine", "/ SPAN;", "/ SPAN - 1u;"),
];

const TURNS: &[(&str, &str, &str)] = &[
    ("attend_partial", "total *= kept;", "total *= 1.0;"),
    ("attend_partial", "acc *= kept.x;", "acc *= 1.0;"),
    ("attend_partial", "let next = p + TURN;", "let next = p;"),
    ("attend_partial", "ask_values(begins + TURN + line", "ask_values(begins + line"),
];

/// Shapes that each run meets; the others are ignored, and run with `--include-ignored`. So are the changes of each list but the first.
const MET: [&str; 4] = ["2 heads for each of keys", "heads of 20", "heads of 256", "sinks and windows"];

pub fn trials(target: &Target) -> Vec<Trial> {
    let base = || Llama { format: "Q8_0", head_dim: 32, context: 1152, ..Llama::default() };
    let shapes = [
        ("2 heads for each of keys", Llama { kv_heads: 2, ..base() }),
        ("7 heads for each of keys", Llama { heads: 7, kv_heads: 1, width: Some(96), ..base() }),
        ("8 heads for each of keys", Llama { heads: 16, kv_heads: 2, head_dim: 16, ..base() }),
        ("heads of 20", Llama { head_dim: 20, width: Some(64), ..base() }),
        ("biases", Llama { biases: true, ..base() }),
        ("heads of 128", Llama { head_dim: 128, heads: 2, kv_heads: 1, ..base() }),
        ("heads of 256", Llama { head_dim: 256, heads: 2, kv_heads: 1, ..base() }),
        ("heads of 512", Llama { head_dim: 512, heads: 2, kv_heads: 1, ..base() }),
    ];
    let mut trials = Vec::new();
    for (i, (name, model)) in shapes.into_iter().enumerate() {
        let (bytes, target) = (model.file().leak(), target.clone());
        let (before, met) = (before(model.head_dim), MET.contains(&name));
        let name = format!("{name}, decoded from position {before} on {}", target.label);
        let trial = Trial::test(name, move || {
            held(bytes, before, &target, Precision::Fast, HARDWARE)?;
            if i > 0 {
                return Ok(());
            }
            // Neither what the cache is stored in nor what asks for it ahead has a part in the shape.
            held(bytes, before, &target, Precision::F32, HARDWARE)?;
            held(bytes, before, &target, Precision::Fast, Masks::default())
        });
        trials.push(trial.with_ignored_flag(!met));
    }
    // What spans know nothing of: sinks, and where chunks and windows begin.
    let sinks: &'static [u8] = gpt_oss(&base()).leak();
    let chunks = llama4(&Llama { layers: 4, ..base() }, 1000).leak();
    for (name, bytes) in [("sinks and windows", sinks), ("chunks of 1,000", chunks)] {
        let (target, met) = (target.clone(), MET.contains(&name));
        let name = format!("{name}, decoded from position 1022 on {}", target.label);
        let trial = Trial::test(name, move || held(bytes, before(32), &target, Precision::Fast, HARDWARE));
        trials.push(trial.with_ignored_flag(!met));
    }
    let large = Llama { head_dim: 128, heads: 2, kv_heads: 1, ..base() };
    let bytes: &'static [u8] = large.file().leak();
    let longer = Llama { context: 4352, layers: 1, ..large };
    let longer: &'static [u8] = longer.file().leak();
    for before in [LONGER, SEVERAL_LONGER] {
        let (target, name) =
            (target.clone(), format!("heads of 128, decoded from position {before} on {}", target.label));
        let trial = Trial::test(name, move || held(longer, before, &target, Precision::Fast, HARDWARE));
        trials.push(trial.with_ignored_flag(before == SEVERAL_LONGER));
    }
    let of_sinks = ("attend_combine", "total += exp(sinks[h] - largest);", "total += 0.0;");
    let large = before(large.head_dim);
    let of_large = MUTATIONS.iter().map(|&mutation| ("large", mutation, bytes, large));
    // What only spans of several turns do.
    let of_turns = TURNS.iter().map(|&mutation| ("turns", mutation, longer, LONGER));
    let of_sinks = [("sinks", of_sinks, sinks, before(32))];
    let changed = of_large.chain(of_sinks).chain(of_turns).map(|(list, mutation, bytes, before)| {
        let target = target.clone();
        let name = format!("{} with \"{}\" is noticed on {}", mutation.0, mutation.2, target.label);
        let trial = Trial::test(name, move || {
            // What is asked for ahead is added up by lines of its own, which software adapters do without.
            for masks in [HARDWARE, Masks::default()] {
                let masks = Masks { mutation: Some(mutation), ..masks };
                let options = Options { masks, ..target.options(Precision::Fast) };
                let file = Gguf::from_static("tiny", bytes)?;
                let report = run_from(file, &options, 160, before, DECODED)?;
                if report.failed() > 0 {
                    return Ok(());
                }
            }
            Err("every node agreed".into())
        });
        (list, trial)
    });
    trials.extend(first_of_each(changed));
    trials
}

fn held(bytes: &'static [u8], before: u32, target: &Target, precision: Precision, masks: Masks) -> Outcome {
    let file = Gguf::from_static("tiny", bytes)?;
    let options = Options { masks, ..target.options(precision) };
    let report = run_from(file, &options, 160, before, DECODED)?;
    if !report.nodes.iter().any(|node| node.kernel.starts_with("attend_combine")) {
        return Err("attend_combine did not run".into());
    }
    agrees(&report)
}
