//! `wgllm perplexity`, on the model that the repository carries.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use libtest_mimic::{Failed, Trial};
use serde_json::Value;

use crate::Outcome;
use crate::demands::must;

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/demo-q8_0.gguf");
const TEXT: &str = "Once upon a time, there was a little girl named Lily. She loved to play with her toys and eat yummy food. One day, she \
    found a big, red apple on the ground. She picked it up and took it to her mom. Her mom said that the apple was very big.";

pub fn trials() -> Vec<Trial> {
    let mut trials = vec![
        Trial::test("a_text_that_the_model_knows_is_foretold_well", known),
        Trial::test("a_base_is_written_and_what_is_held_to_it_compared", base),
        Trial::test("mistakes_are_said_and_overwrite_nothing", mistakes),
    ];
    match wgllm::gpu::adapters().into_iter().next() {
        Some(adapter) => {
            let api = adapter.info.api;
            let name = format!("two_backends_agree_on {}", adapter.info.name);
            trials.push(Trial::test(name, move || two(&api)));
        }
        None => trials
            .push(Trial::test("two_backends_agree (no adapter here)", || Ok(())).with_ignored_flag(true)),
    }
    trials
}

fn run(args: &[&str], code: i32) -> Result<[String; 2], Failed> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wgllm"));
    command.arg("perplexity").args(args).stdin(Stdio::null());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("WGLLM_")) {
        command.env_remove(name);
    }
    let output = command.output()?;
    let [out, err] = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    must(output.status.code() == Some(code), || format!("{args:?} ended with {}: {err}", output.status))?;
    Ok([out, err])
}

fn measured(args: &[&str]) -> Result<Value, Failed> {
    Ok(serde_json::from_str(&run(&[args, &["--json"]].concat(), 0)?[0])?)
}

fn number(value: &Value) -> Result<f64, Failed> {
    Ok(value.as_f64().ok_or_else(|| format!("{value} is no number"))?)
}

fn known() -> Outcome {
    let on = ["-m", MODEL, "-b", "cpu", "-c", "16", "-p"];
    let story = measured(&[&on[..], &[TEXT]].concat())?;
    must(story["tokens"] == 7 * story["chunks"].as_u64().ok_or("no chunks")?, || story.to_string())?;
    let reversed: String = TEXT.split(' ').rev().collect::<Vec<_>>().join(" ");
    let nonsense = measured(&[&on[..], &[&reversed]].concat())?;
    let (story, nonsense) =
        (number(&story["perplexity"]["value"])?, number(&nonsense["perplexity"]["value"])?);
    must(story < 5.0 && nonsense > 10.0 * story, || format!("{story} and {nonsense}"))?;
    let [text, _] = run(&[&on[..], &[TEXT, "--chunks", "1"]].concat(), 0)?;
    must(
        text.starts_with("perplexity ")
            && text.contains(" ± ")
            && text.ends_with(" over 7 tokens in 1 chunk of 16\n"),
        || text.clone(),
    )
}

fn base() -> Outcome {
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let (base, small) = (path("base"), path("small.gguf"));
    let on = ["-b", "cpu", "-c", "16", "--precision", "f32", "--kl-divergence-base", &base];
    let written = measured(&[&on[..], &["-m", MODEL, "-p", TEXT]].concat())?;
    must(written["kl_divergence"].is_null(), || written.to_string())?;
    let same = measured(&[&on[..], &["-m", MODEL, "--kl-divergence"]].concat())?;
    must(same["kl_divergence"]["same_top"] == 1.0 && same["tokens"] == written["tokens"], || {
        same.to_string()
    })?;
    // What the file's steps cost.
    must(number(&same["kl_divergence"]["largest"])?.abs() < 2e-4, || same.to_string())?;
    let (before, after) =
        (number(&written["perplexity"]["value"])?, number(&same["base_perplexity"]["value"])?);
    must((before / after - 1.0).abs() < 2e-4, || format!("{before} became {after}"))?;
    let quantized =
        Command::new(env!("CARGO_BIN_EXE_wgllm")).args(["quantize", "-q", MODEL, &small, "Q4_0"]).status()?;
    must(quantized.success(), || "quantize failed".into())?;
    let other = measured(&[&on[..], &["-m", &small, "--kl-divergence"]].concat())?;
    let mean = number(&other["kl_divergence"]["mean"])?;
    must(mean > 1e-3 && number(&other["kl_divergence"]["largest"])? > mean, || other.to_string())?;
    let [text, _] = run(&[&on[..], &["-m", &small, "--kl-divergence"]].concat(), 0)?;
    must(text.contains("KL divergence: mean 0.") && text.contains("the same top token at "), || text)
}

fn mistakes() -> Outcome {
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let (cut, text) = (path("cut"), path("text"));
    fs::write(&text, TEXT)?;
    fs::write(&cut, "wgllmkld")?;
    let on = ["-m", MODEL, "-b", "cpu", "-c", "16"];
    let cases: [(&[&str], i32, &str); 8] = [
        (&[], 2, "give a text with -f FILE"),
        (&["-p", "Once"], 2, "a chunk takes 16"),
        (&["-p", TEXT, "--kl-divergence"], 2, "--kl-divergence"),
        (&["--kl-divergence-base", &cut, "--kl-divergence"], 2, "not written to its end"),
        (&["--kl-divergence-base", MODEL, "--kl-divergence"], 2, "holds no distributions"),
        (&["--kl-divergence-base", MODEL, "-p", TEXT], 2, "would be overwritten"),
        (&["--kl-divergence-base", &text, "-f", &text], 2, "would be overwritten"),
        (&["--kl-divergence-base", "/nowhere/x", "-p", TEXT], 1, "/nowhere/x"),
    ];
    for (args, code, expected) in cases {
        let [_, err] = run(&[&on[..], args].concat(), code)?;
        must(err.contains(expected), || format!("{args:?}: no {expected:?} in {err:?}"))?;
    }
    let three = ["-m", MODEL, "-c", "16", "-p", TEXT, "-b", "cpu,cpu,cpu"];
    must(run(&three, 2)?[1].contains("one backend, or two"), || "three backends were taken".into())?;
    must(fs::read(Path::new(&text))? == TEXT.as_bytes(), || "the text was overwritten".into())
}

fn two(api: &str) -> Outcome {
    let both = format!("cpu,{api}");
    let args = ["-m", MODEL, "-c", "16", "-p", TEXT, "--chunks", "2", "--precision", "f32", "-b", &both];
    let found = measured(&args)?;
    must(found["kl_divergence"]["same_top"] == 1.0, || found.to_string())?;
    must(number(&found["kl_divergence"]["largest"])?.abs() < 1e-5, || found.to_string())
}
