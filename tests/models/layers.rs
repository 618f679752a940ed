//! Keys that say which layers are of which kind: which have windows and which bases, which have experts, and how these are chosen.

use libtest_mimic::{Failed, Trial};
use wgllm::models::Model;
use wgllm::ops::{Op, Route};

use crate::gguf_file::GgufFile;
use crate::tiny_model::{Llama, format, gemma3, gpt_oss, llama4};
use crate::{Outcome, load};

/// A model, what its file says, and the window of each layer, or its chunk.
type Windows = (&'static str, fn(&mut GgufFile), [u32; 4]);

const WINDOWS: &[Windows] = &[
    ("llama", |f| f.set("llama.attention.sliding_window", 6u32), [6; 4]),
    (
        "llama with a list",
        |f| {
            f.set("llama.attention.sliding_window", 6u32);
            f.set("llama.attention.sliding_window_pattern", [true, false, false, true].as_slice());
        },
        [6, 0, 0, 6],
    ),
    (
        "llama with a list and no window",
        |f| f.set("llama.attention.sliding_window_pattern", [true, false, false, true].as_slice()),
        [0; 4],
    ),
    ("gpt-oss", |f| *f = gpt_oss(&four()), [5, 0, 5, 0]),
    (
        "gpt-oss with a period",
        |f| {
            *f = gpt_oss(&four());
            f.set("gpt-oss.attention.sliding_window_pattern", 3u32);
        },
        [5, 5, 0, 5],
    ),
    ("gemma3", |f| *f = gemma3(&four()), [6; 4]),
    (
        "gemma3 with a period",
        |f| {
            *f = gemma3(&four());
            f.set("gemma3.attention.sliding_window_pattern", 2u32);
        },
        [6, 0, 6, 0],
    ),
    (
        "gemma3 with a period of 1",
        |f| {
            *f = gemma3(&four());
            f.set("gemma3.attention.sliding_window_pattern", 1u32);
        },
        [0; 4],
    ),
    (
        "gemma3 without a window",
        |f| {
            *f = gemma3(&four());
            f.set("gemma3.attention.sliding_window", 0u32);
        },
        [0; 4],
    ),
    ("llama4", |f| *f = llama4(&four(), 8), [8, 8, 8, 0]),
    (
        "llama4 with a period",
        |f| {
            *f = llama4(&four(), 8);
            f.set("llama4.attention.sliding_window_pattern", 3u32);
        },
        [8, 8, 0, 8],
    ),
];

/// One trial for each case.
pub fn trials() -> Vec<Trial> {
    let mut trials: Vec<Trial> = WINDOWS
        .iter()
        .map(|&(what, change, expected)| {
            Trial::test(format!("layers::windows of {what}"), move || {
                let mut file = four().file();
                change(&mut file);
                let model = read(file)?;
                same(
                    &ops(&model, |op| match op {
                        Op::Attend(attend) => Some(attend.0.window.max(attend.0.chunk)),
                        _ => None,
                    }),
                    &expected,
                )
            })
        })
        .collect();
    trials.push(Trial::test("layers::windows have a base of their own", bases));
    trials.push(Trial::test("layers::llama4 has chunks and a growth of scores as published", published));
    trials.push(Trial::test("layers::gemma3 has the scale and the cap of its file", scale));
    trials.push(Trial::test("layers::experts in every second layer", || {
        let model = read(with_experts())?;
        same(&ops(&model, |op| matches!(op, Op::Route(_)).then_some(())), &[()])
    }));
    trials.push(Trial::test("layers::groups of experts compare as their scoring says", groups));
    trials
}

fn bases() -> Outcome {
    let mut file = gpt_oss(&four());
    file.set("gpt-oss.rope.freq_base", 5000.0f32);
    file.set("gpt-oss.rope.freq_base_swa", 300.0f32);
    let found = ops(&read(file)?, |op| match op {
        Op::Rope(rope) => Some(rope.0.base),
        _ => None,
    });
    same(&found, &[300.0, 300.0, 5000.0, 5000.0, 300.0, 300.0, 5000.0, 5000.0])
}

/// What Llama 4's files do not say, and what no sequence of the golden data is long enough for: scores grow from position 8191 on.
fn published() -> Outcome {
    let mut file = llama4(&four(), 0);
    file.unset("llama4.attention.chunk_size");
    let found = ops(&read(file)?, |op| match op {
        Op::Attend(attend) => {
            let growth = attend.0.temperature.map(|t| [8190, 8191, 16383].map(|position| t.at(position)));
            Some((attend.0.chunk, growth))
        }
        _ => None,
    });
    let grown = |steps: f64| 1.0 + f64::from(0.1f32) * (1.0 + steps).ln();
    let near = (8192, None);
    same(&found, &[near, near, near, (0, Some([0.0, 1.0, 2.0].map(grown)))])
}

fn scale() -> Outcome {
    let mut file = gemma3(&Llama::default());
    file.set("gemma3.attention.scale", 0.1f32);
    file.set("gemma3.final_logit_softcapping", 30.0f32);
    let model = read(file)?;
    same(
        &ops(&model, |op| if let Op::Attend(attend) = op { Some(attend.0.scale) } else { None }),
        &[0.1, 0.1],
    )?;
    match model.graph.entry(model.graph.output()).op() {
        Some((Op::Softcap(cap), _)) if cap.cap == 30.0 => Ok(()),
        other => Err(format!("the graph ends with {other:?}").into()),
    }
}

fn groups() -> Outcome {
    for (scoring, best) in [(1u32, 1), (2, 2)] {
        let mut file = with_experts();
        file.set("llama.expert_gating_func", scoring);
        file.set("llama.expert_group_count", 2u32);
        let route =
            |op: &Op| if let Op::Route(Route { group_best, .. }) = op { Some(*group_best) } else { None };
        same(&ops(&read(file)?, route), &[best])?;
    }
    Ok(())
}

fn four() -> Llama {
    Llama { layers: 4, ..Llama::default() }
}

/// A Llama whose second layer has four experts.
fn with_experts() -> GgufFile {
    let mut file = Llama::default().file();
    for (key, value) in [("expert_count", 4u32), ("expert_used_count", 1), ("interleave_moe_layer_step", 2)] {
        file.set(&format!("llama.{key}"), value);
    }
    let (width, ffn) = (64, 96);
    for (name, cols, rows) in [("gate", width, ffn), ("up", width, ffn), ("down", ffn, width)] {
        file.remove(&format!("blk.1.ffn_{name}.weight"));
        let numbers = vec![0; (cols * rows * 4 * 4) as usize];
        file.put(&format!("blk.1.ffn_{name}_exps.weight"), &[cols, rows, 4], format("F32").id, numbers);
    }
    file.put("blk.1.ffn_gate_inp.weight", &[width, 4], format("F32").id, vec![0; (width * 4 * 4) as usize]);
    file
}

fn read(file: GgufFile) -> Result<Model, Failed> {
    load(file.leak()).map(|(_, model)| model).map_err(|e| e.to_string().into())
}

fn ops<T>(model: &Model, of: impl Fn(&Op) -> Option<T>) -> Vec<T> {
    model.graph.nodes().filter_map(|(_, entry)| of(entry.op()?.0)).collect()
}

fn same<T: PartialEq + std::fmt::Debug>(found: &[T], expected: &[T]) -> Outcome {
    match found == expected {
        true => Ok(()),
        false => Err(format!("found {found:?}, expected {expected:?}").into()),
    }
}
