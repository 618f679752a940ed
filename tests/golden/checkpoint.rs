//! Folders of safetensors: the fixtures' models written back as Hugging Face's library has them, with the configuration that they were made
//! with, give the same golden logits.

use std::path::Path;

use libtest_mimic::{Failed, Trial};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};
use wgllm::backend::Precision;
use wgllm::formats;
use wgllm::gguf::Gguf;
use wgllm::models;

use crate::Outcome;
use crate::adapters::Target;
use crate::asserts::{Subject, Tolerance, near};
use crate::fixtures::{fixtures, ids, json, npy};

/// Models whose kind of checkpoint is known.
const MODELS: &[&str] = &[
    "llama",
    "llama-mha-bias",
    "llama-linear-rope",
    "llama-yarn",
    "llama3-rope",
    "mistral",
    "qwen2",
    "qwen3",
    "phi3",
    "phi3-longrope",
    "gemma3",
];

/// A trial for each of them, on the CPU: behind the file nothing differs from a GGUF file.
pub fn trials(_: &[Target]) -> Vec<Trial> {
    let folders = MODELS.iter().map(|name| (name, fixtures().join("models").join(name)));
    let there = folders.filter(|(_, folder)| folder.join("model-f32.gguf").is_file());
    there
        .map(|(name, folder)| Trial::test(format!("{name} from safetensors"), move || agrees(&folder)))
        .collect()
}

fn agrees(folder: &Path) -> Outcome {
    let expected = json(&folder.join("expected.json"))?;
    let (golden, _) = npy(&folder.join("logits.npy"))?;
    let written = tempfile::tempdir()?;
    write(&folder.join("model-f32.gguf"), &expected["hf_config"], written.path())?;
    let file = models::open(written.path())?;
    let mut subject = Subject::with_file(file, &Target::cpu(), Precision::F32)?;
    let logits = subject.logits(&ids(&expected["prompt"]["ids"])?, false)?;
    near("prompt", &logits, &golden, subject.vocab(), Tolerance::F32)?;
    refused(written.path(), &expected["hf_config"])
}

/// What the graph does not compute is refused by its name.
fn refused(folder: &Path, config: &Value) -> Outcome {
    let with = |key: &str, value: Value| -> Result<String, Failed> {
        let mut config = config.clone();
        config[key] = value;
        std::fs::write(folder.join("config.json"), config.to_string())?;
        match models::open(folder).and_then(|file| wgllm::models::Model::from_gguf(&file, None)) {
            Ok(_) => Err(format!("{key} = {} is taken", config[key]).into()),
            Err(error) => Ok(error.to_string()),
        }
    };
    for (key, value) in [
        ("model_type", json!("unheard-of")),
        ("hidden_act", json!("relu")),
        ("hidden_size", json!(-1)),
        ("num_hidden_layers", json!("three")),
        ("quantization_config", json!({ "quant_method": "fp8" })),
    ] {
        let error = with(key, value)?;
        if !error.contains(key) {
            return Err(format!("{key} is not named: {error}").into());
        }
    }
    Ok(())
}

/// Writes a model in two files with an index.
fn write(gguf: &Path, config: &Value, folder: &Path) -> Outcome {
    let file = Gguf::open(gguf)?;
    let kind = config["model_type"].as_str().unwrap_or_default();
    let heads = |name: &str| config[name].as_u64().unwrap_or(1) as usize;
    let mut tensors: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
    for tensor in file.tensors().iter().filter(|t| !t.name.starts_with("rope_")) {
        let format = formats::by_id(tensor.kind.id).ok_or("a type of a fixture is known")?;
        let mut numbers = vec![0.0; tensor.elements() as usize];
        (format.decode)(file.data(tensor), &mut numbers);
        let rotated = ["attn_q.", "attn_k."].iter().find(|name| tensor.name.contains(**name));
        if let Some(which) =
            rotated.filter(|_| file.metadata().need_str("general.architecture").ok() == Some("llama"))
        {
            let count =
                heads(if *which == "attn_q." { "num_attention_heads" } else { "num_key_value_heads" });
            numbers = halves(&numbers, count, heads("head_dim"));
        }
        if kind.starts_with("gemma") && tensor.name.ends_with("norm.weight") {
            numbers.iter_mut().for_each(|number| *number -= 1.0);
        }
        let shape = tensor.dims.iter().rev().map(|&dim| dim as usize).collect();
        tensors.push((theirs(&tensor.name, kind)?, shape, bytemuck::cast_slice(&numbers).to_vec()));
    }
    let mut map = serde_json::Map::new();
    for (number, part) in tensors.chunks(tensors.len().div_ceil(2)).enumerate() {
        let name = format!("model-{:05}-of-00002.safetensors", number + 1);
        let views = part.iter().map(|(name, shape, bytes)| {
            Ok((name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes)?))
        });
        let views: Vec<_> = views.collect::<Result<_, safetensors::SafeTensorError>>()?;
        std::fs::write(folder.join(&name), safetensors::serialize(views, None)?)?;
        map.extend(part.iter().map(|(tensor, ..)| (tensor.clone(), json!(name))));
    }
    std::fs::write(folder.join("model.safetensors.index.json"), json!({ "weight_map": map }).to_string())?;
    Ok(std::fs::write(folder.join("config.json"), config.to_string())?)
}

/// Rows of `heads` heads of `rows` rows each from neighbours to halves: what the converter of llama.cpp did, undone. A bias has rows of one
/// number.
fn halves(numbers: &[f32], heads: usize, rows: usize) -> Vec<f32> {
    let mut turned = Vec::with_capacity(numbers.len());
    let cols = numbers.len() / heads / rows;
    for head in numbers.chunks(rows * cols) {
        for half in 0..2 {
            for pair in 0..rows / 2 {
                turned.extend_from_slice(&head[(2 * pair + half) * cols..][..cols]);
            }
        }
    }
    turned
}

fn theirs(name: &str, kind: &str) -> Result<String, Failed> {
    let top = [
        ("token_embd.weight", "model.embed_tokens.weight"),
        ("output_norm.weight", "model.norm.weight"),
        ("output.weight", "lm_head.weight"),
    ];
    if let Some((_, theirs)) = top.iter().find(|(gguf, _)| *gguf == name) {
        return Ok((*theirs).into());
    }
    let [layer, stem, end] = name.strip_prefix("blk.").ok_or(name)?.split('.').collect::<Vec<_>>()[..] else {
        return Err(format!("{name} is no tensor of a block").into());
    };
    let gemma = kind.starts_with("gemma");
    let theirs = match stem {
        "attn_norm" => "input_layernorm",
        "attn_q" => "self_attn.q_proj",
        "attn_k" => "self_attn.k_proj",
        "attn_v" => "self_attn.v_proj",
        "attn_qkv" => "self_attn.qkv_proj",
        "attn_output" => "self_attn.o_proj",
        "attn_q_norm" => "self_attn.q_norm",
        "attn_k_norm" => "self_attn.k_norm",
        "post_attention_norm" => "post_attention_layernorm",
        "post_ffw_norm" => "post_feedforward_layernorm",
        "ffn_norm" if gemma => "pre_feedforward_layernorm",
        "ffn_norm" => "post_attention_layernorm",
        "ffn_gate" => "mlp.gate_proj",
        "ffn_up" if kind == "phi3" => "mlp.gate_up_proj",
        "ffn_up" => "mlp.up_proj",
        "ffn_down" => "mlp.down_proj",
        other => return Err(format!("{other} is not known").into()),
    };
    Ok(format!("model.layers.{layer}.{theirs}.{end}"))
}
