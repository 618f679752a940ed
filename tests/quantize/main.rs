//! Files made smaller: tensor by tensor the types and the bytes that llama-quantize gives, the same keys, and what cannot be done is said while
//! what was there stays.

#[path = "../common/demands.rs"]
mod demands;
#[path = "../common/fixtures.rs"]
mod fixtures;
#[path = "../common/gguf_file.rs"]
mod gguf_file;
mod mistakes;

use std::path::Path;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use wgllm::cancel::Cancel;
use wgllm::error::Error;
use wgllm::gguf::Gguf;
use wgllm::quantize::{Quantized, Target, quantize};

use fixtures::{files, fixtures, stem};

use demands::{contains, equal, must};

type Outcome = Result<(), Failed>;

fn main() -> ExitCode {
    let mut trials = mistakes::trials();
    let folder = fixtures();
    if !folder.is_dir() {
        let name = "files of llama-quantize (no fixtures here: WGLLM_FIXTURES names their folder)";
        trials.push(Trial::test(name, || Ok(())).with_ignored_flag(true));
    }
    // Of these models there is what llama-quantize was given.
    for path in files(&folder.join("models-quant"), "gguf") {
        let name = stem(&path);
        let Some((model, target)) = name.rsplit_once('-') else { continue };
        let source = folder.join("models").join(model).join("model-f32.gguf");
        if let (Some(target), true) = (Target::by_name(target), source.is_file()) {
            trials.push(Trial::test(format!("{name} is llama-quantize's"), move || {
                is_alike(&source, &path, target, true)
            }));
        }
    }
    for target in ["q4_0", "q8_0"] {
        let [source, path] =
            ["f32", target].map(|kind| folder.join(format!("real/stories260K/model-{kind}.gguf")));
        if let (Some(target), true) = (Target::by_name(target), path.is_file()) {
            let name = format!("stories260K-{} is llama-quantize's", target.name);
            trials.push(Trial::test(name, move || is_alike(&source, &path, target, true)));
        }
    }
    // Of this one only another type: so are the types of tensors, and not their bytes.
    for target in wgllm::quantize::TARGETS.iter().filter(|target| !["F16", "BF16"].contains(&target.name)) {
        let [source, path] =
            ["BF16", target.name].map(|kind| folder.join(format!("quant/model-{kind}.gguf")));
        if path.is_file() {
            let name = format!("types of {} are llama-quantize's", target.name);
            trials.push(Trial::test(name, move || is_alike(&source, &path, target, false)));
        }
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// Quantises without anybody who looks on.
fn made(file: &Gguf, out: &Path, target: &Target) -> Result<Quantized, Error> {
    quantize(file, out, target, &Cancel::new(), &mut |_| (), &mut |_, _| ())
}

/// Quantises `source`, and demands the tensors of `golden`, and the keys of `source`.
fn is_alike(source: &Path, golden: &Path, target: &Target, bytes: bool) -> Outcome {
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("out.gguf");
    let source = Gguf::open(source)?;
    made(&source, &out, target)?;
    let (found, golden) = (Gguf::open(&out)?, Gguf::open(golden)?);
    equal(found.tensors().len(), golden.tensors().len())?;
    for tensor in found.tensors() {
        let expected = golden
            .tensor(&tensor.name)
            .ok_or_else(|| format!("{} is not in the golden file", tensor.name))?;
        equal(
            (&tensor.name, tensor.kind.name, &tensor.dims),
            (&tensor.name, expected.kind.name, &expected.dims),
        )?;
        if bytes && found.data(tensor) != golden.data(expected) {
            let at = found.data(tensor).iter().zip(golden.data(expected)).position(|(a, b)| a != b);
            return Err(format!("{} ({}) differs at byte {at:?}", tensor.name, tensor.kind.name).into());
        }
    }
    let changed = ["general.file_type", "general.quantization_version"];
    let keys = |file: &Gguf| -> Vec<String> {
        let kept = file.metadata().iter().filter(|(key, _)| !changed.contains(key));
        kept.map(|(key, value)| format!("{key} {} {value:?}", value.type_name())).collect()
    };
    equal(keys(&found), keys(&source))?;
    for key in changed {
        equal((key, found.metadata().u32(key)?), (key, golden.metadata().u32(key)?))?;
    }
    Ok(())
}
