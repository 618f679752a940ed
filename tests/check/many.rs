//! Steps of many rows: on matrix units, or kernels of theirs with plain arithmetic in their place where there are none, by integer dot products, and in f32.

use libtest_mimic::Trial;
use wgllm::backend::Precision;
use wgllm::engine::{Engine, Options};
use wgllm::formats::FORMATS;
use wgllm::gguf::Gguf;
use wgllm::gpu::Masks;

use crate::adapters::{HARDWARE, Target};
use crate::tiny_model::{Gpt2, Llama};
use crate::{Outcome, agrees, run};

/// What is left of an adapter, and the precision.
const WAYS: [(&str, Masks, Precision); 3] = [
    ("on matrix units", Masks { emulated_matrices: true, ..HARDWARE }, Precision::Fast),
    ("by integers", Masks { no_coop: true, ..HARDWARE }, Precision::Fast),
    ("in f32", HARDWARE, Precision::F32),
];

/// Rows of a step: around the edges of tiles. `check` makes the last ones steps of their own: 13 and 2.
const ROWS: [u32; 5] = [65, 96, 127, 129, 257];
const ROWS_ON_UNITS: [u32; 2] = [65, 257];
const FURTHER_ROWS: [u32; 5] = [66, 95, 128, 191, 513];
const LAST: u32 = 15;

/// What each run meets; the others are ignored here, and run with `--include-ignored`. A software adapter takes some ten seconds for each, and half a minute on
/// matrix units, which it has none of; tests/formats holds every decoder by itself, and `rows` all numbers of rows.
const MET: [&str; 5] = [
    "llama",
    "llama Q4_K",
    "llama with 7 heads for each of keys",
    "llama with keys in floats and values in integers",
    "gpt2",
];
const MET_ON_UNITS: [&str; 2] = ["llama Q4_K", "gpt2"];

pub fn trials(target: &Target) -> Vec<Trial> {
    let mut trials = Vec::new();
    for (way, masks, precision) in WAYS {
        let options = Options { masks, ..target.options(precision) };
        let met = if masks.emulated_matrices { &MET_ON_UNITS[..] } else { &MET };
        let of = |name: &str, bytes: &'static [u8], rows: &'static [u32]| {
            let options = options.clone();
            let trial = Trial::test(format!("{name}, many rows {way} on {}", target.label), move || {
                rows.iter().try_for_each(|rows| {
                    let report = run(Gguf::from_static("tiny", bytes)?, &options, 160, rows + LAST)?;
                    agrees(&report).map_err(|e| format!("{rows} rows: {}", e.message().unwrap_or("")).into())
                })
            });
            trial.with_ignored_flag(!met.contains(&name))
        };
        let base = || Llama { format: "Q8_0", head_dim: 32, layers: 1, ..Llama::default() };
        // In f32 there is one kind of tile, which few counts go around.
        if precision == Precision::F32 {
            trials.push(of("llama", base().file().leak(), &ROWS[..3]));
            continue;
        }
        let rows = if masks.emulated_matrices { &ROWS_ON_UNITS[..] } else { &ROWS };
        trials.push(of("llama", base().file().leak(), rows));
        trials.push(of("llama with further counts", base().file().leak(), &FURTHER_ROWS));
        for format in FORMATS {
            let wide = Llama { head_dim: 64, ffn: 512, layers: 1, format: format.name, ..Llama::default() };
            trials.push(of(&format!("llama {}", format.name), wide.file().leak(), &[257]));
        }
        let shapes = [
            ("2 heads for each of keys", Llama { heads: 4, kv_heads: 2, ..base() }),
            ("7 heads for each of keys", Llama { heads: 7, kv_heads: 1, width: Some(96), ..base() }),
            ("biases", Llama { biases: true, ..base() }),
            ("heads of 16", Llama { head_dim: 16, heads: 8, ..base() }),
            ("heads of 20", Llama { head_dim: 20, width: Some(64), ..base() }),
            ("heads of 80", Llama { head_dim: 80, width: Some(64), ..base() }),
            ("heads of 128", Llama { head_dim: 128, heads: 2, kv_heads: 1, ..base() }),
            ("a feed-forward of 172 in F16", Llama { ffn: 172, format: "F16", ..base() }),
            (
                "keys in floats and values in integers",
                Llama { kv_formats: [Some("F16"), Some("Q4_0")], ..base() },
            ),
        ];
        for (name, model) in shapes {
            trials.push(of(&format!("llama with {name}"), model.file().leak(), &ROWS[..1]));
        }
        let gpt2 = Gpt2 { head_dim: 64, context: 128, format: "Q8_0", ..Gpt2::default() };
        trials.push(of("gpt2", gpt2.file().leak(), &ROWS[..1]));
    }
    let distrusted = target.clone();
    trials.push(Trial::test(
        format!("matrix units that fail their test are not used on {}", target.label),
        move || distrust(&distrusted),
    ));
    trials
}

/// A wrong product is told, and what follows is computed without matrix units.
fn distrust(target: &Target) -> Outcome {
    let mutation = Some(("matrix_test", "C_PLACE + 4u * k * C_LINE", "C_PLACE"));
    let masks = Masks { emulated_matrices: true, mutation, ..HARDWARE };
    let options = Options { masks, ..target.options(Precision::Fast) };
    let bytes: &'static [u8] = Llama { format: "Q8_0", head_dim: 32, ..Llama::default() }.file().leak();
    let engine = Engine::with_file(Gguf::from_static("tiny", bytes)?, &options, &mut |_, _| {})?;
    if !engine.notes.iter().any(|note| note.contains("failed a test")) {
        return Err(format!("nothing was said of it: {:?}", engine.notes).into());
    }
    let report = run(Gguf::from_static("tiny", bytes)?, &options, 160, 81)?;
    match report.nodes.iter().find(|n| n.kernel.contains("matrix")) {
        Some(n) => Err(format!("{} was computed by {}", n.node, n.kernel).into()),
        None => agrees(&report),
    }
}
