//! `wgllm inspect`: the metadata and the tensors of a GGUF file.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Map, Number, Value as Json, json};
use wgllm_engine::gguf::{Gguf, Value};
use wgllm_engine::memory::{KV_FORMATS, Kv};
use wgllm_engine::models::{self, Model};

use super::text::{count, mib, plural, table};
use super::{Outcome, plain, report};

/// The arguments of `inspect`.
#[derive(Args)]
pub struct Inspect {
    /// The file; of a split model, the first part; or a folder of safetensors files
    file: PathBuf,
    /// Print JSON, with arrays in full
    #[arg(long)]
    json: bool,
}

impl Inspect {
    /// Runs the command.
    pub fn run(&self) -> Outcome {
        let file = models::open(&self.file)?;
        let text = if self.json { format!("{}\n", to_json(&file)) } else { to_text(&file) };
        std::io::stdout().write_all(text.as_bytes())?;
        Ok(ExitCode::SUCCESS)
    }
}

fn to_text(file: &Gguf) -> String {
    let keys: Vec<_> = file
        .metadata()
        .iter()
        .map(|(key, value)| vec![plain::line(key).into(), value.type_name(), value.to_string()])
        .collect();
    let tensors: Vec<_> = file
        .tensors()
        .iter()
        .map(|t| {
            vec![plain::line(&t.name).into(), t.kind.name.into(), format!("{:?}", t.dims), count(t.bytes)]
        })
        .collect();
    let bytes: u64 = file.tensors().iter().map(|t| t.bytes).sum();
    let weights: u64 = file.tensors().iter().map(|t| t.elements()).sum();
    let kind = match file.checkpoint() {
        Some(_) => format!("safetensors, {} bytes", count(file.file_bytes())),
        None => {
            let (version, bytes, aligned) = (file.version(), count(file.file_bytes()), file.alignment());
            format!("GGUF v{version}, {bytes} bytes, tensors aligned to {aligned}")
        }
    };
    format!(
        "{}: {kind}\n\n{}: name, type, value\n{}\n{}: name, type, columns × rows, bytes\n{}\n\
         {} weights in {} ({})\n{}",
        plain::line(file.name()),
        plural(keys.len(), "key"),
        table(&keys),
        plural(tensors.len(), "tensor"),
        table(&tensors),
        count(weights),
        mib(bytes),
        report::type_counts(file),
        match &kv_bytes(file)[..] {
            [] => String::new(),
            all => format!("keys and values of a position: {}\n", list(all)),
        },
    )
}

/// Bytes of a position's keys and values in each format that its heads can be kept in; none where the model is not known.
fn kv_bytes(file: &Gguf) -> Vec<(&'static str, usize)> {
    let Ok(model) = Model::from_gguf(file, None) else { return Vec::new() };
    let both = KV_FORMATS.iter().map(|format| Kv { keys: format, values: format });
    let fitting = both.filter(|kv| kv.check(&model.graph).is_ok());
    fitting.map(|kv| (kv.keys.name, kv.bytes(&model.graph))).filter(|&(_, bytes)| bytes > 0).collect()
}

/// `512 bytes in f32, 256 in f16`
fn list(all: &[(&str, usize)]) -> String {
    let one = |&(name, bytes): &(&str, usize)| format!("{} in {name}", count(bytes as u64));
    all.iter().map(one).collect::<Vec<_>>().join(", ").replacen(" in ", " bytes in ", 1)
}

fn to_json(file: &Gguf) -> Json {
    let metadata: Map<String, Json> = file.metadata().iter().map(|(key, v)| (key.into(), value(v))).collect();
    let tensor = |t: &wgllm_engine::gguf::Tensor| json!({ "name": t.name, "type": t.kind.name, "dims": t.dims, "bytes": t.bytes });
    json!({
        "name": file.name(),
        "version": file.version(),
        "alignment": file.alignment(),
        "file_bytes": file.file_bytes(),
        "kv_bytes_per_position": kv_bytes(file).into_iter().map(|(name, n)| (name.into(), n.into())).collect::<Map<String, Json>>(),
        "metadata": metadata,
        "tensors": file.tensors().iter().map(tensor).collect::<Vec<_>>(),
    })
}

fn value(v: Value<'_>) -> Json {
    // By way of the shortest text, so that an f32 of 1e-5 is not printed as 0.000009999999747378752.
    let float = |text: String| text.parse().ok().and_then(Number::from_f64).map_or(Json::Null, Json::Number);
    match v {
        Value::Bool(b) => Json::Bool(b),
        Value::F32(x) => float(x.to_string()),
        Value::F64(x) => float(x.to_string()),
        Value::Str(bytes) => Json::String(String::from_utf8_lossy(bytes).into_owned()),
        Value::Array(array) => Json::Array(array.iter().map(value).collect()),
        Value::U64(n) => n.into(),
        whole => whole.integer().and_then(|n| i64::try_from(n).ok()).into(),
    }
}
