//! Tiny models of every format and of every shape that a kernel treats in its own way.

use libtest_mimic::Trial;
use wgllm::backend::Precision;
use wgllm::formats::{FORMATS, Format};
use wgllm::gguf::Gguf;
use wgllm::gpu::Masks;

use crate::adapters::{HARDWARE, Target};
use crate::gguf_file::GgufFile;
use crate::tiny_model::{Gpt2, HYBRIDS, Hybrid, Llama, gemma3, gpt_oss, llama4, mistral3};
use crate::{Outcome, agrees, masks, run, run_from};

pub fn trials(target: &Target) -> Vec<Trial> {
    let mut trials = Vec::new();
    for (format, file) in formats() {
        let trial = trial(target, format!("llama {format}"), file.leak(), 160, HARDWARE, &ALL[..1]);
        trials.push(trial.with_ignored_flag(!KINDS.contains(&format)));
    }
    for (name, file, vocab) in models() {
        // Nodes by themselves are those of tests/ops: here they show what sizes of heads do to all of them.
        let met = if NODES.contains(&name.as_str()) { ALL.len() } else { 1 };
        trials.extend(in_all_ways(target, name, file.leak(), vocab, HARDWARE, met));
    }
    // What masks change does not depend on the model's shape.
    for (name, mask) in masks().into_iter().skip(1) {
        let model = Llama { head_dim: 32, ffn: 256, format: "Q4_K", width: Some(256), ..Llama::default() };
        let file = model.file().leak();
        trials.extend(in_all_ways(target, format!("llama Q4_K with {name}"), file, 160, mask, 2));
        let gpt2 = Gpt2::default().file().leak();
        trials.extend(in_all_ways(target, format!("gpt2 with {name}"), gpt2, 160, mask, 2));
    }
    trials.push(few(target));
    trials.push(first_positions(target));
    // The embedding, and with it the output, is several bindings long.
    let split = Masks { max_binding: Some(1 << 20), ..HARDWARE };
    for format in ["F32", "Q8_0", "Q6_K"] {
        let model = Llama {
            vocab: 9001,
            tied: true,
            width: Some(256),
            ffn: 256,
            head_dim: 64,
            format,
            ..Llama::default()
        };
        let name = format!("llama {format} in parts of 1 MiB");
        trials.extend(in_all_ways(target, name, model.file().leak(), 9001, split, 2));
    }
    trials
}

/// Numbers of rows that have tiles of their own, of blocks with several scales.
fn few(target: &Target) -> Trial {
    let target = target.clone();
    Trial::test(format!("few rows on {}", target.label), move || {
        let wide = Llama { head_dim: 64, ffn: 512, layers: 1, format: "Q4_K", ..Llama::default() };
        let bytes: &'static [u8] = wide.file().leak();
        for rows in [2, 3, 7, 8] {
            let report = run(Gguf::from_static("tiny", bytes)?, &target.options(Precision::Fast), 160, rows);
            agrees_in(report, Precision::Fast, false)
                .map_err(|e| format!("{rows} rows: {}", e.message().unwrap_or("")))?;
        }
        Ok(())
    })
}

/// One row at each of a sequence's first positions, before which convolutions find nothing.
fn first_positions(target: &Target) -> Trial {
    let target = target.clone();
    Trial::test(format!("states row by row from the first position on {}", target.label), move || {
        for architecture in HYBRIDS {
            let bytes: &'static [u8] = Hybrid { architecture, format: "Q8_0" }.file().leak();
            let options = target.options(Precision::Fast);
            agrees(&run_from(Gguf::from_static("tiny", bytes)?, &options, 160, 1, 5)?)?;
        }
        Ok(())
    })
}

/// A format for each kind of unit. The others are ignored here, and run with `--include-ignored`: tests/formats and tests/ops hold every decoder and its products to the
/// reference by themselves.
const KINDS: [&str; 7] = ["F32", "F16", "Q4_0", "Q8_0", "Q4_K", "Q6_K", "IQ2_XXS"];

/// Every format, as a model has it in decode.
fn formats() -> Vec<(&'static str, GgufFile)> {
    let model = |format: &&'static Format| {
        let wide = Llama { head_dim: 64, ffn: 512, layers: 1, format: format.name, ..Llama::default() };
        (format.name, wide.file())
    };
    FORMATS.iter().map(model).collect()
}

fn models() -> Vec<(String, GgufFile, u32)> {
    let mut models = Vec::new();
    for architecture in HYBRIDS {
        let hybrid = Hybrid { architecture, format: "Q8_0" };
        models.push((architecture.to_string(), hybrid.file(), 160));
    }
    // Layer norms and biases meet each way of multiplying: in floats, in integers, and in integers with a minimum.
    for format in ["F32", "F16", "Q8_0", "Q4_K"] {
        let gpt2 = Gpt2 { head_dim: 64, format, ..Gpt2::default() };
        models.push((format!("gpt2 {format}"), gpt2.file(), 160));
    }
    let base = || Llama { format: "Q8_0", head_dim: 32, ..Llama::default() };
    let wide = || Llama { head_dim: 64, ffn: 512, ..base() };
    let shapes = [
        ("1 head for each of keys", Llama { heads: 4, kv_heads: 4, ..base() }),
        ("2 heads for each of keys", Llama { heads: 4, kv_heads: 2, ..base() }),
        ("4 heads for each of keys", Llama { heads: 4, kv_heads: 1, ..base() }),
        ("7 heads for each of keys", Llama { heads: 7, kv_heads: 1, width: Some(96), ..base() }),
        ("8 heads for each of keys", Llama { heads: 16, kv_heads: 2, head_dim: 16, ..base() }),
        ("a tied output", Llama { tied: true, ..base() }),
        ("biases", Llama { biases: true, ..base() }),
        ("rotary factors", Llama { rope_freqs: true, ..base() }),
        ("positions scaled", Llama { linear_factor: Some(4.0), ..base() }),
        ("half of a head turned", Llama { rotary: Some(16), ..base() }),
        ("heads of 8", Llama { head_dim: 8, heads: 8, ..base() }),
        ("heads of 20", Llama { head_dim: 20, width: Some(64), ..base() }),
        ("heads of 80", Llama { head_dim: 80, width: Some(64), ..base() }),
        ("heads of 128", Llama { head_dim: 128, heads: 2, kv_heads: 1, ..base() }),
        ("heads of 288", Llama { head_dim: 288, heads: 2, kv_heads: 1, ..base() }),
        ("heads of 512", Llama { head_dim: 512, heads: 1, kv_heads: 1, ..base() }),
        ("heads of 256", Llama { head_dim: 256, heads: 2, kv_heads: 1, ..base() }),
        ("heads of 128 and biases", Llama { head_dim: 128, heads: 2, kv_heads: 1, biases: true, ..base() }),
        ("heads of 256 and biases", Llama { head_dim: 256, heads: 2, kv_heads: 1, biases: true, ..base() }),
        ("a feed-forward of 172 in F16", Llama { ffn: 172, ..base() }),
        (
            "odd sizes",
            Llama {
                width: Some(36),
                heads: 3,
                kv_heads: 1,
                head_dim: 12,
                ffn: 44,
                vocab: 161,
                format: "F16",
                ..base()
            },
        ),
        ("one layer", Llama { layers: 1, ..base() }),
        (
            "queries, keys and values in three formats",
            Llama { kv_formats: [Some("Q4_K"), Some("Q6_K")], ..wide() },
        ),
        ("values alone in another format", Llama { kv_formats: [None, Some("Q4_0")], ..wide() }),
        ("keys alone in another format", Llama { kv_formats: [Some("Q4_0"), None], ..wide() }),
        (
            "keys in floats and values in integers",
            Llama { kv_formats: [Some("F16"), Some("Q4_0")], ..wide() },
        ),
    ];
    let four = || Llama { layers: 4, ..base() };
    models.push(("gpt-oss without experts".into(), gpt_oss(&base()), 160));
    // Sums that their readers make, in integers and in floats: of whole units and not, read by one matvec and by two.
    models.push(("gemma3".into(), gemma3(&base()), 160));
    models.push(("gemma3 F16".into(), gemma3(&Llama { format: "F16", ..base() }), 160));
    let odd = Llama { width: Some(96), kv_formats: [None, Some("F16")], ..base() };
    models.push(("gemma3 whose values are in floats".into(), gemma3(&odd), 160));
    models.push(("llama4 in chunks of 7".into(), llama4(&four(), 7), 160));
    models.push(("mistral3 whose scores grow every 4 positions".into(), mistral3(&base(), 4), 160));
    models
        .extend(shapes.map(|(name, model)| (format!("llama with {name}"), model.file(), model.vocab as u32)));
    models
}

/// A precision, and whether every node is computed by itself.
type Way = (Precision, bool);

static ALL: [Way; 3] = [(Precision::Fast, false), (Precision::F32, false), (Precision::F32, true)];
/// Models that each run computes in all ways.
const NODES: [&str; 4] =
    ["gpt2 F32", "llama with heads of 20", "llama with heads of 80", "llama with heads of 288"];

/// A trial of the first `met` ways, and one of the others, which is ignored, and runs with `--include-ignored`.
fn in_all_ways(
    target: &Target,
    name: String,
    bytes: &'static [u8],
    vocab: u32,
    masks: Masks,
    met: usize,
) -> Vec<Trial> {
    let (now, others) = ALL.split_at(met);
    let left_out = format!("{name}, in the other ways");
    let mut trials = vec![trial(target, name, bytes, vocab, masks, now)];
    if !others.is_empty() {
        trials.push(trial(target, left_out, bytes, vocab, masks, others).with_ignored_flag(true));
    }
    trials
}

fn trial(
    target: &Target,
    name: String,
    bytes: &'static [u8],
    vocab: u32,
    masks: Masks,
    ways: &'static [Way],
) -> Trial {
    let target = target.clone();
    Trial::test(format!("{name} on {}", target.label), move || {
        for &(precision, unfused) in ways {
            let file = Gguf::from_static("tiny", bytes)?;
            let options = wgllm::engine::Options { masks, unfused, ..target.options(precision) };
            agrees_in(run(file, &options, vocab, 9), precision, unfused)?;
        }
        Ok(())
    })
}

fn agrees_in(
    report: Result<wgllm::check::Report, libtest_mimic::Failed>,
    precision: Precision,
    unfused: bool,
) -> Outcome {
    let report = report?;
    agrees(&report)
        .map_err(|e| format!("{precision:?}, unfused {unfused}: {}", e.message().unwrap_or("")).into())
}
