//! What cannot be quantised, and what there is besides bytes: parts, keys, the command.

use std::fs;
use std::path::Path;
use std::process::Command;

use libtest_mimic::{Failed, Trial};
use wgllm::cancel::Cancel;
use wgllm::error::Error;
use wgllm::gguf::Gguf;
use wgllm::quantize::{Target, quantize};

use crate::gguf_file::{GgufFile, Meta};
use crate::{Outcome, contains, equal, made, must};

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/demo-q8_0.gguf");

type Test = (&'static str, fn() -> Outcome);

pub fn trials() -> Vec<Trial> {
    let tests: [Test; 6] = [
        ("weights_that_a_type_cannot_hold_are_refused_by_name", refused),
        ("an_input_is_never_the_output", input_is_output),
        ("what_is_given_up_leaves_what_was_there", given_up),
        ("parts_become_one_file_and_keys_of_any_type_stay", parts),
        ("odd_tensors_are_copied_or_fit", odd),
        ("the_command_writes_a_model_that_runs", command),
    ];
    tests.into_iter().map(|(name, test)| Trial::test(name, test)).collect()
}

fn target(name: &str) -> Result<&'static Target, Failed> {
    Ok(Target::by_name(name).ok_or("no such target")?)
}

/// A file with a matrix of f32 in rows of `cols`.
fn matrix(name: &str, cols: usize, weights: &[f32]) -> GgufFile {
    let dims = [cols as u64, (weights.len() / cols) as u64];
    let data = weights.iter().flat_map(|w| w.to_le_bytes()).collect();
    GgufFile::new().with("general.architecture", "llama").tensor(name, &dims, 0, data)
}

fn opened(folder: &Path, file: &GgufFile) -> Result<Gguf, Failed> {
    let path = folder.join("in.gguf");
    file.write(&path)?;
    Ok(Gguf::open(&path)?)
}

fn refused() -> Outcome {
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("out.gguf");
    fs::write(&out, "yesterday's")?;
    let cases = [
        (f32::NAN, "Q8_0", "blk.0.attn_q.weight holds NaN"),
        (f32::NEG_INFINITY, "BF16", "holds -inf"),
        (1e5, "F16", "holds 1e5, and F16 holds 65504 at most; BF16 holds it"),
        (1e9, "Q4_K_M", "Q4_K holds 65504"),
    ];
    for (weight, kind, expected) in cases {
        let mut weights = vec![0.5; 1024];
        weights[700] = weight;
        let file = opened(folder.path(), &matrix("blk.0.attn_q.weight", 256, &weights))?;
        let error = made(&file, &out, target(kind)?).map(|_| ()).unwrap_err();
        must(matches!(error, Error::Model(_)), || format!("{error:?}"))?;
        contains(&error.to_string(), expected)?;
        equal(fs::read(&out)?.as_slice(), b"yesterday's")?;
        equal(fs::read_dir(folder.path())?.count(), 2)?;
    }
    let file = opened(folder.path(), &matrix("blk.0.attn_q.weight", 256, &vec![1e5; 512]))?;
    made(&file, &out, target("BF16")?).map(drop)?;
    // A type that is not computed with.
    let ints = GgufFile::new().tensor("blk.0.x.weight", &[32, 2], 24, vec![1; 64]);
    let error = made(&opened(folder.path(), &ints)?, &out, target("Q8_0")?).map(|_| ()).unwrap_err();
    contains(&error.to_string(), "has type I8, which is not read here")
}

fn input_is_output() -> Outcome {
    let folder = tempfile::tempdir()?;
    let file = opened(folder.path(), &matrix("a.weight", 32, &[0.5; 64]))?;
    let path = folder.path().join("in.gguf");
    let before = fs::read(&path)?;
    let mut outs = vec![
        path.clone(),
        folder.path().join("../").join(folder.path().file_name().unwrap_or_default()).join("in.gguf"),
    ];
    if cfg!(unix) {
        let link = folder.path().join("link");
        #[cfg(unix)]
        std::os::unix::fs::symlink(&path, &link)?;
        outs.push(link);
    }
    for out in outs {
        let error = made(&file, &out, target("Q8_0")?).map(|_| ()).unwrap_err();
        contains(&error.to_string(), "which is read for this")?;
        must(fs::read(&path)? == before, || "the input was written to".into())?;
    }
    Ok(())
}

fn given_up() -> Outcome {
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("out.gguf");
    fs::write(&out, "yesterday's")?;
    let file = opened(
        folder.path(),
        &matrix("a.weight", 32, &[0.5; 64]).tensor("b.weight", &[32, 2], 0, vec![0; 256]),
    )?;
    let cancel = Cancel::new();
    let done = quantize(&file, &out, target("Q8_0")?, &cancel, &mut |_| (), &mut |done, _| {
        if done > 0 {
            cancel.cancel();
        }
    });
    must(matches!(done, Err(Error::Interrupted)), || format!("{done:?}"))?;
    equal(fs::read(&out)?.as_slice(), b"yesterday's")?;
    equal(fs::read_dir(folder.path())?.count(), 2)
}

fn parts() -> Outcome {
    let folder = tempfile::tempdir()?;
    let part = |no: u32| {
        matrix(&format!("blk.{no}.ffn_up.weight"), 64, &[no as f32 + 0.5; 128])
            .with("split.no", no)
            .with("split.count", 2u32)
            .with("split.tensors.count", 2u32)
    };
    let mut first =
        part(0).with_alignment(128).with("list", &["a", "b"][..]).with("numbers", &[1.5f32, 2.5][..]);
    first.set("i64", Meta::I64(-5));
    first.set("empty", Meta::Array(4, vec![]));
    first.set("general.file_type", 0u32);
    first.write(&folder.path().join("m-00001-of-00002.gguf"))?;
    part(1).write(&folder.path().join("m-00002-of-00002.gguf"))?;
    let file = Gguf::open(&folder.path().join("m-00001-of-00002.gguf"))?;
    let out = folder.path().join("out.gguf");
    made(&file, &out, target("Q8_0")?)?;
    let found = Gguf::open(&out)?;
    let keys: Vec<&str> = found.metadata().iter().map(|(key, _)| key).collect();
    let expected = [
        "general.architecture",
        "general.alignment",
        "list",
        "numbers",
        "i64",
        "empty",
        "general.file_type",
        "general.quantization_version",
    ];
    equal(keys, expected.to_vec())?;
    equal((found.alignment(), found.metadata().u32("general.file_type")?), (128, Some(7)))?;
    for no in 0..2 {
        let tensor = found.tensor(&format!("blk.{no}.ffn_up.weight")).ok_or("a tensor is missing")?;
        let mut weights = vec![0.0; 128];
        (wgllm::formats::by_id(8).ok_or("no Q8_0")?.decode)(found.data(tensor), &mut weights);
        must(weights.iter().all(|w| (w - (no as f32 + 0.5)).abs() < 1e-2), || format!("{weights:?}"))?;
    }
    Ok(())
}

fn odd() -> Outcome {
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("out.gguf");
    let single = |weights: usize| vec![0; 4 * weights];
    let file = GgufFile::new()
        .with("general.architecture", "llama")
        .tensor("output.weight", &[288, 2], 0, single(576))
        .tensor("blk.0.ffn_up.weight", &[288, 2], 0, single(576))
        .tensor("blk.0.ffn_gate.weight", &[20, 2], 0, single(40))
        .tensor("blk.0.ffn_gate_inp.weight", &[256, 2], 0, single(512))
        .tensor("blk.0.attn_norm.weight", &[256], 0, single(256))
        .tensor("blk.0.attn_q.bias", &[256, 1], 0, single(256))
        .tensor("blk.0.empty.weight", &[0, 4], 0, vec![])
        .tensor("blk.0.experts.weight", &[256, 1, 2], 0, single(512));
    let done = made(&opened(folder.path(), &file)?, &out, target("Q4_K_M")?)?;
    let found = Gguf::open(&out)?;
    let kinds: Vec<&str> = found.tensors().iter().map(|tensor| tensor.kind.name).collect();
    equal(kinds, vec!["Q8_0", "Q5_1", "F16", "F32", "F32", "F32", "Q4_K", "Q4_K"])?;
    equal((done.unfit, done.requantized), (2, 0))
}

fn command() -> Outcome {
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("out.gguf");
    let out = out.to_str().ok_or("the folder's name is UTF-8")?;
    let run = |args: &[&str], code: i32| -> Result<[String; 2], Failed> {
        let output = Command::new(env!("CARGO_BIN_EXE_wgllm")).args(args).output()?;
        let [text, err] =
            [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
        must(output.status.code() == Some(code), || format!("{args:?} ended with {}: {err}", output.status))?;
        Ok([text, err])
    };
    let [_, err] = run(&["quantize", MODEL, out, "q4_0"], 0)?;
    contains(&err, "29 tensors quantised before")?;
    contains(&err, "Q4_0, 3.9 MB of weights are now ")?;
    let [text, _] = run(&["-m", out, "-b", "cpu", "-p", "Once upon a time", "-n", "8", "--temp", "0"], 0)?;
    contains(&text, "Once upon a time, there was a")?;
    let [_, err] = run(&["quantize", "-q", MODEL, out, "F16"], 0)?;
    equal(err.as_str(), "")?;
    contains(&run(&["quantize", MODEL, out, "Q9"], 2)?[1], "known are F16, BF16, Q8_0")?;
    contains(&run(&["quantize", MODEL, "/nowhere/x.gguf", "F16"], 1)?[1], "/nowhere/x.gguf")?;
    contains(&run(&["quantize", "/nowhere.gguf", out, "F16"], 3)?[1], "/nowhere.gguf")?;
    contains(&run(&["quantize", out, out, "Q8_0"], 2)?[1], "give another file")
}
