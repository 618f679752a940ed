//! Every pair of formats of keys and values, for one row, few and many, behind few positions and many; that a wrong way to write or read
//! one is noticed; that what has no whole blocks is refused; and that bytes are those of the formats.

use libtest_mimic::Trial;
use wgllm::Error;
use wgllm::backend::Precision;
use wgllm::engine::{Engine, Options};
use wgllm::gguf::Gguf;
use wgllm::gpu::Masks;
use wgllm::memory::{KV_FORMATS, Kv, kv_format};

use crate::adapters::{HARDWARE, Target};
use crate::tiny_model::Llama;
use crate::{Outcome, agrees, first_of_each, run, run_from};

/// Kernel, what is in it, what is put in its place.
const MUTATIONS: &[(&str, &str, &str)] = &[
    ("heads", "/ 127.0", "/ 126.0"),
    ("heads", "- whole >= ", "- whole >= 0.2 + "),
    ("heads", "2u * n + 1u)", "2u * n)"),
    ("store", "/ 127.0", "/ 126.0"),
    ("store", "2u * c + 1u)", "2u * c)"),
    ("store", "largest = max(largest, abs(x[head + c]));", "largest = max(largest, x[head + c]);"),
    ("attend", "16u * (block % 2u)", "16u * (1u - block % 2u)"),
    ("attend", "/ KEY_HEAD_FOURS * KEY_SCALES", "/ KEY_HEAD_FOURS"),
    ("attend_decode", "16u * (block % 2u)", "16u * (1u - block % 2u)"),
    ("attend_decode", "start + PAGE * KV_FOURS,", "start + PAGE * KV_FOURS + 1u,"),
];

/// Those that only long heads, or long sequences, meet.
const FAR: &[(&str, &str, &str)] = &[
    ("attend_partial", "[block % 2u]", "[1u - block % 2u]"),
    ("attend_partial", "let block = (place.z + c)", "let block = c"),
];

pub fn trials(target: &Target) -> Vec<Trial> {
    let mut trials = Vec::new();
    let base = || Llama { format: "Q8_0", head_dim: 64, ..Llama::default() };
    let shapes = [
        ("heads of 32", Llama { head_dim: 32, kv_heads: 2, ..base() }),
        ("heads of 64 with biases", Llama { biases: true, ..base() }),
        ("heads of 96", Llama { head_dim: 96, heads: 2, kv_heads: 2, ..base() }),
        ("heads of 128", Llama { head_dim: 128, heads: 2, kv_heads: 1, ..base() }),
    ];
    for (name, model) in shapes {
        let bytes: &'static [u8] = model.file().leak();
        for keys in KV_FORMATS {
            for values in KV_FORMATS {
                // Every pair with one shape, and with the others what rounds whole blocks.
                if model.head_dim != 96 && !(keys.name == "q8_0" && values == keys) {
                    continue;
                }
                let (target, kv) = (target.clone(), Kv { keys, values });
                let name = format!("{name}, KV in {} on {}", kv.name(), target.label);
                // Each format for keys and for values, and biases; the others with `--include-ignored`.
                let met = match model.head_dim {
                    96 => keys == values || (keys.name, values.name) == ("f16", "q8_0"),
                    _ => model.biases,
                };
                let trial = Trial::test(name, move || agrees_in(&target, bytes, kv));
                trials.push(trial.with_ignored_flag(!met));
            }
        }
    }
    for (name, head_dim, kv_heads) in [("heads of 64", 64, 2), ("heads of 256", 256, 1)] {
        let model = Llama { head_dim, heads: 2 * kv_heads, kv_heads, context: 1152, layers: 1, ..base() };
        let (bytes, target) = (model.file().leak(), target.clone());
        let before = if head_dim == 64 { 1022 } else { 254 };
        let name = format!("{name} behind {before} positions, KV in q8_0 on {}", target.label);
        trials.push(Trial::test(name, move || {
            for masks in [HARDWARE, Masks::default()] {
                let options = Options {
                    masks,
                    ..options(&target, Precision::F32, Kv { keys: q8_0()?, values: q8_0()? })
                };
                agrees(&run_from(Gguf::from_static("tiny", bytes)?, &options, 160, before, 3)?)?;
            }
            Ok(())
        }));
    }
    let wide: &'static [u8] =
        Llama { head_dim: 96, heads: 4, kv_heads: 2, layers: 1, ..base() }.file().leak();
    let long: &'static [u8] =
        Llama { head_dim: 256, heads: 2, kv_heads: 1, layers: 1, context: 1152, ..base() }.file().leak();
    let changed = MUTATIONS.iter().chain(FAR).map(|&mutation| {
        let target = target.clone();
        let name = format!("{} with \"{}\" is noticed on {}", mutation.0, mutation.2, target.label);
        let trial = Trial::test(name, move || {
            let masks = Masks { mutation: Some(mutation), ..HARDWARE };
            let unfused = matches!(mutation.0, "store" | "attend");
            let kv = Kv { keys: q8_0()?, values: q8_0()? };
            let options = Options { masks, unfused, ..options(&target, Precision::F32, kv) };
            let report = match FAR.contains(&mutation) {
                true => run_from(Gguf::from_static("tiny", long)?, &options, 160, 300, 3)?,
                false => run(Gguf::from_static("tiny", wide)?, &options, 160, 9)?,
            };
            if report.failed() > 0 { Ok(()) } else { Err("every node agreed".into()) }
        });
        (mutation.0, trial)
    });
    trials.extend(first_of_each(changed));
    let of = target.clone();
    trials.push(Trial::test(format!("heads of 80 in q8_0 are refused on {}", target.label), move || {
        refused(&of)
    }));
    let of = target.clone();
    trials
        .push(Trial::test(format!("bytes of KV are those of its formats on {}", target.label), move || {
            counted(&of)
        }));
    trials
}

fn q8_0() -> Result<&'static wgllm::memory::KvFormat, libtest_mimic::Failed> {
    kv_format("q8_0").ok_or_else(|| "no q8_0".into())
}

fn options(target: &Target, precision: Precision, kv: Kv) -> Options {
    Options { cache_type_k: Some(kv.keys), cache_type_v: Some(kv.values), ..target.options(precision) }
}

/// 81 rows are many, several and few; each is followed by single rows.
fn agrees_in(target: &Target, bytes: &'static [u8], kv: Kv) -> Outcome {
    for (precision, unfused) in [(Precision::F32, false), (Precision::F32, true), (Precision::Fast, false)] {
        let options = Options { unfused, ..options(target, precision, kv) };
        let report = run(Gguf::from_static("tiny", bytes)?, &options, 160, 81)?;
        agrees(&report)
            .map_err(|e| format!("{precision:?}, unfused {unfused}: {}", e.message().unwrap_or("")))?;
        // Nowhere node by node where there are one or few rows.
        let plain = |kernel: &str| matches!(kernel, "store" | "rope" | "attend");
        let alone = report.nodes.iter().find(|n| n.step != "prefill" && plain(&n.kernel));
        if let Some(node) = alone.filter(|_| !unfused) {
            return Err(format!("{} is computed by {} in {}", node.node, node.kernel, node.step).into());
        }
    }
    Ok(())
}

fn refused(target: &Target) -> Outcome {
    let bytes = Llama { format: "Q8_0", head_dim: 80, width: Some(64), ..Llama::default() }.file().leak();
    for target in [target.clone(), Target::cpu()] {
        let file = Gguf::from_static("tiny", bytes)?;
        let options = Options { cache_type_v: Some(q8_0()?), ..target.options(Precision::F32) };
        match Engine::with_file(file, &options, &mut |_, _| {}).map(drop) {
            Err(Error::Usage(what)) if what.contains("-ctv q8_0: blk.0.cache_v has heads of 80") => {}
            other => return Err(format!("got {other:?}").into()),
        }
    }
    Ok(())
}

fn counted(target: &Target) -> Outcome {
    let model = || Llama { format: "Q8_0", head_dim: 64, kv_heads: 2, layers: 2, ..Llama::default() };
    // Of a position of both layers, with two heads each; 64 positions are two pages.
    for (keys, values, head) in
        [("f32", "f16", 256 + 128), ("q8_0", "q8_0", 68 + 68), ("q8_0", "f32", 68 + 256)]
    {
        for target in [target.clone(), Target::cpu()] {
            let options = Options {
                context: Some(64),
                cache_type_k: kv_format(keys),
                cache_type_v: kv_format(values),
                ..target.options(Precision::F32)
            };
            let file = Gguf::from_static("tiny", model().file().leak())?;
            let engine = Engine::with_file(file, &options, &mut |_, _| {})?;
            let (found, expected) = (engine.backend.memory().kv, 64 * 2 * 2 * head);
            if found != expected {
                return Err(format!("{keys} and {values}: {found} bytes, expected {expected}").into());
            }
        }
    }
    Ok(())
}
