//! Perplexity and divergence: of trained models against the exact arithmetic on their weights, of what `quantize` makes of them, and the command.

mod command;
#[path = "../common/demands.rs"]
mod demands;
#[path = "../common/fixtures.rs"]
mod fixtures;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::Value;
use wgllm::backend::Precision;
use wgllm::cancel::Cancel;
use wgllm::engine::{Choice, Engine, Options};
use wgllm::gguf::Gguf;
use wgllm::perplexity::{Perplexity, chunks, evaluate};
use wgllm::quantize::{Target, quantize};
use wgllm::session::Session;
use wgllm::tokenizer::Encode;

use demands::must;
use fixtures::{ids, json, not_fetched, numbers, trained};

type Outcome = Result<(), Failed>;

/// What the README of the trained models asks for in f32: of each value, and of the whole.
const LARGEST: f64 = 2e-3;
const RELATIVE: f64 = 1e-4;

fn main() -> ExitCode {
    let mut trials = command::trials();
    for (folder, name, path) in trained() {
        let Some(path) = path else {
            trials.push(Trial::test(not_fetched(&name), || Ok(())).with_ignored_flag(true));
            continue;
        };
        // Quantised again, Gemma's would be what it is already in half of its tensors.
        if name.starts_with("smollm2") {
            let (folder, path) = (folder.clone(), path.clone());
            trials.push(Trial::test(format!("{name}, quantised, foretells almost as well"), move || {
                quantised(&folder, &path)
            }));
        }
        trials.push(Trial::test(format!("{name} foretells as well as exact arithmetic"), move || {
            exact(&folder, &path)
        }));
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// The chunks of the golden data, cut anew from the text.
fn golden_chunks(expected: &Value, folder: &Path, engine: &Engine) -> Result<Vec<Vec<u32>>, Failed> {
    let text = std::fs::read_to_string(folder.join("ppl.txt"))?;
    let tokenizer = engine.tokenizer.as_ref().ok_or("no tokenizer")?;
    let tokens = tokenizer.encode(&text, Encode { special: false, bos: true })?;
    let bos = tokenizer.bos().filter(|_| tokenizer.adds_bos());
    let chunks = chunks(&tokens, 512, Some(3), bos)?;
    let whole = expected["n_ids_of_the_whole_text"].as_u64().ok_or("no number of tokens")?;
    let golden = ids(&expected["ids"])?;
    // These are as they were before BOS went into the first places.
    must(tokens.len() as u64 == whole && tokens.starts_with(&golden), || "other tokens".into())?;
    must(chunks.len() * 512 == golden.len(), || format!("{} chunks", chunks.len()))?;
    Ok(chunks)
}

/// −ln p of each token that counts, and what is made of them.
fn foretold(path: &Path, folder: &Path) -> Result<(Vec<f64>, Perplexity), Failed> {
    let expected = json(&folder.join("expected.json"))?;
    let options =
        Options { backend: Choice::Cpu, precision: Precision::F32, context: Some(512), ..Options::default() };
    let mut engine = Engine::with_file(Gguf::open(path)?, &options, &mut |_, _| {})?;
    let chunks = golden_chunks(&expected["perplexity"], folder, &engine)?;
    let vocab = engine.model.vocab_size;
    let mut session = Session::new(engine.backend.as_mut(), engine.plan, vocab);
    let (mut values, mut perplexity) = (Vec::new(), Perplexity::default());
    for chunk in &chunks {
        evaluate(&mut session, chunk, vocab, &mut |row, token| {
            values.push(-f64::from(row[token as usize]));
            perplexity.add(row, token);
            Ok(())
        })?;
    }
    Ok((values, perplexity))
}

fn exact(folder: &Path, path: &Path) -> Outcome {
    let golden = &json(&folder.join("expected.json"))?["perplexity"]["exact"];
    let (values, perplexity) = foretold(path, folder)?;
    let lists = golden["nll"].as_array().ok_or("no values are known")?;
    let expected: Vec<f64> = lists.iter().map(numbers).collect::<Result<Vec<_>, _>>()?.concat();
    must(values.len() == expected.len(), || format!("{} values, golden {}", values.len(), expected.len()))?;
    for (at, (found, golden)) in values.iter().zip(&expected).enumerate() {
        must((found - golden).abs() <= LARGEST, || format!("value {at} is {found}, golden {golden}"))?;
    }
    let whole = golden["ppl"].as_f64().ok_or("no perplexity is known")?;
    let found = perplexity.value();
    must((found / whole - 1.0).abs() <= RELATIVE, || format!("perplexity {found}, golden {whole}"))?;
    // The standard error of the golden values' mean, times the perplexity.
    let count = expected.len() as f64;
    let mean = expected.iter().sum::<f64>() / count;
    let squares = expected.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>();
    let error = (squares / count / (count - 1.0)).sqrt() * whole;
    let found = perplexity.error().ok_or("no error")?;
    must((found / error - 1.0).abs() <= 1e-3, || format!("error {found}, golden {error}"))
}

/// F16 of what is there, and from that Q8_0 and Q4_K_M: within 0.5 % and 3 %.
fn quantised(folder: &Path, path: &Path) -> Outcome {
    let place = tempfile::tempdir()?;
    let made = |from: &Path, name: &str| -> Result<PathBuf, Failed> {
        let target = Target::by_name(name).ok_or("no such target")?;
        let out = place.path().join(name);
        quantize(&Gguf::open(from)?, &out, target, &Cancel::new(), &mut |_| (), &mut |_, _| ())?;
        Ok(out)
    };
    let whole = made(path, "F16")?;
    let base = foretold(&whole, folder)?.1.value();
    for (name, most) in [("Q8_0", 0.005), ("Q4_K_M", 0.03)] {
        let found = foretold(&made(&whole, name)?, folder)?.1.value();
        must(found / base - 1.0 <= most, || format!("{name}: {found}, F16 {base}: beyond {most}"))?;
    }
    Ok(())
}
