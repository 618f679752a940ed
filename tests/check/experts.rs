//! Experts of quantised models: few rows by integers, many rows sorted by expert, on matrix units, by integers and one by one.

use libtest_mimic::Trial;
use wgllm::backend::Precision;
use wgllm::engine::Options;
use wgllm::gguf::Gguf;
use wgllm::gpu::Masks;

use crate::adapters::{HARDWARE, Target};
use crate::fixtures::fixtures;
use crate::{agrees, run};

/// Biases and clamped gates; two of few; three of ten.
const MODELS: [&str; 3] = ["gpt-oss-MXFP4_MOE", "mixtral-Q8_0", "qwen3moe-Q5_0"];

/// What each run meets; the others with `--include-ignored`: `ops` has experts in all ways.
const MET: [(&str, &str); 2] = [("gpt-oss-MXFP4_MOE", "on matrix units"), ("qwen3moe-Q5_0", "by integers")];

/// What is left of an adapter.
const WAYS: [(&str, Masks); 3] = [
    ("on matrix units", Masks { emulated_matrices: true, ..HARDWARE }),
    ("by integers", Masks { no_coop: true, ..HARDWARE }),
    ("without subgroups", Masks { no_coop: true, no_subgroups: true, ..HARDWARE }),
];

/// Rows of a prompt, of which `check` makes the last ones steps of their own, 13 and 2: more than a tile has.
const ROWS: u32 = 150;

pub fn trials(target: &Target) -> Vec<Trial> {
    let mut trials = Vec::new();
    for model in MODELS {
        let path = fixtures().join("models-quant").join(format!("{model}.gguf"));
        for (way, masks) in WAYS {
            let (path, target) = (path.clone(), target.clone());
            let name = format!("{model} {way} on {}", target.label);
            let ignored = !path.is_file() || !MET.contains(&(model, way));
            let trial = Trial::test(name, move || {
                let options = Options { masks, ..target.options(Precision::Fast) };
                agrees(&run(Gguf::open(&path)?, &options, 500, ROWS)?)
            });
            trials.push(trial.with_ignored_flag(ignored));
        }
    }
    trials
}
