//! Folders of safetensors: the fixtures' models written back as Hugging Face's library has them, with the configuration that they were made
//! with, give the same golden logits.

use std::path::Path;

use libtest_mimic::{Failed, Trial};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};
use wgllm::backend::Precision;
use wgllm::cancel::Cancel;
use wgllm::formats;
use wgllm::gguf::Gguf;
use wgllm::models;
use wgllm::quantize::{Target as Type, quantize};
use wgllm::tokenizer::{Encode, Tokenizer};

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
    "mixtral",
    "qwen2moe",
    "qwen3moe",
    "qwen35",
    "qwen35moe",
    "lfm2",
    "lfm2moe",
    "gpt-oss",
];

/// Those that are written as GGUF, too: rows of queries in another order, heads of values, experts, convolutions.
const WRITTEN: &[&str] = &["llama", "mixtral", "qwen35", "qwen35moe", "lfm2", "gpt-oss"];

/// Fields that say something else than in the fixtures, and the keys that they become.
const OTHERWISE: &[(&str, &str, &str, &str)] = &[
    ("qwen3moe", "norm_topk_prob", "false", "qwen3moe.expert_weights_norm = false"),
    ("qwen2moe", "norm_topk_prob", "true", "qwen2moe.expert_weights_norm = true"),
    ("lfm2moe", "norm_topk_prob", "false", "lfm2moe.expert_weights_norm = false"),
    ("lfm2moe", "routed_scaling_factor", "2.5", "lfm2moe.expert_weights_scale = 2.5"),
    ("gemma3", "query_pre_attn_scalar", "64", "gemma3.attention.scale = 0.125"),
    ("gemma3", "final_logit_softcapping", "30.0", "gemma3.final_logit_softcapping = 30.0"),
];

/// A trial for each of them, on the CPU: behind the file nothing differs from a GGUF file.
pub fn trials(_: &[Target]) -> Vec<Trial> {
    let folders = MODELS.iter().map(|name| (name, fixtures().join("models").join(name)));
    let there = folders.filter(|(_, folder)| folder.join("model-f32.gguf").is_file());
    let mut trials = Vec::new();
    for (name, folder) in there {
        if WRITTEN.contains(name) {
            let folder = folder.clone();
            trials.push(Trial::test(format!("{name} from safetensors to GGUF"), move || is_written(&folder)));
        }
        if *name == "gpt-oss" {
            let folder = folder.clone();
            trials.push(Trial::test("gpt-oss in MXFP4 from safetensors", move || in_mxfp4(&folder)));
        }
        trials.push(Trial::test(format!("{name} from safetensors"), move || agrees(&folder)));
    }
    for &(name, field, value, key) in OTHERWISE {
        let folder = fixtures().join("models").join(name);
        if folder.join("model-f32.gguf").is_file() {
            trials.push(Trial::test(format!("{name} from safetensors with {field}"), move || {
                honoured(&folder, field, value, key)
            }));
        }
    }
    trials
}

/// That a field becomes the key that the graph honours.
fn honoured(folder: &Path, field: &str, value: &str, key: &str) -> Outcome {
    let written = tempfile::tempdir()?;
    let mut config = json(&folder.join("expected.json"))?["hf_config"].clone();
    config[field] = serde_json::from_str(value)?;
    write(&folder.join("model-f32.gguf"), &config, written.path())?;
    let file = models::open(written.path())?;
    wgllm::models::Model::from_gguf(&file, None)?;
    let (key, expected) = key.split_once(" = ").ok_or("a key and its value")?;
    match file.metadata().get(key).map(|value| value.to_string()) {
        Some(found) if found == expected => Ok(()),
        found => Err(format!("key {key} is {found:?}, expected {expected}").into()),
    }
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

/// What `quantize` writes of a folder: the tensors that the converter gave the fixture, in F16, and the folder's tokenizer.
fn is_written(folder: &Path) -> Outcome {
    let expected = json(&folder.join("expected.json"))?;
    let (golden, _) = npy(&folder.join("logits-f16.npy"))?;
    let written = tempfile::tempdir()?;
    // The tokenizer has fewer tokens than the model.
    let mut config = expected["hf_config"].clone();
    (config["bos_token_id"], config["eos_token_id"]) = (Value::Null, Value::Null);
    write(&folder.join("model-f32.gguf"), &config, written.path())?;
    std::fs::write(written.path().join("tokenizer.json"), TOKENIZER)?;
    let out = written.path().join("out.gguf");
    let target = Type::by_name("F16").ok_or("F16 is a target")?;
    let source = models::open_as_gguf(written.path())?;
    quantize(&source, &out, target, &Cancel::new(), &mut |_| (), &mut |_, _| ())?;
    let file = Gguf::open(&out)?;
    let found = Tokenizer::of(&file)?.ok_or("the file has no tokenizer")?;
    let there = Tokenizer::of(&models::open(written.path())?)?.ok_or("the folder has no tokenizer")?;
    let [found, there] = [found, there].map(|t| t.encode("ab ba", Encode::default()));
    if found.as_ref().ok() != Some(&vec![2, 3]) || found? != there? {
        return Err("the tokenizer of the file is another".into());
    }
    // A folder's own files are inputs.
    let input = written.path().join("config.json");
    match quantize(&source, &input, target, &Cancel::new(), &mut |_| (), &mut |_, _| ()) {
        Err(error) if error.to_string().contains("config.json") => {}
        other => return Err(format!("config.json as the output gave {other:?}").into()),
    }
    let mut subject = Subject::with_file(file, &Target::cpu(), Precision::F32)?;
    let logits = subject.logits(&ids(&expected["prompt"]["ids"])?, false)?;
    near("prompt", &logits, &golden, subject.vocab(), Tolerance::F32)
}

/// Words of two letters.
const TOKENIZER: &str = r#"{"version": "1.0", "added_tokens": [], "normalizer": null, "pre_tokenizer": {"type": "Whitespace"},
    "post_processor": null,
    "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
    "model": {"type": "WordLevel", "vocab": {"a": 0, "b": 1, "ab": 2, "ba": 3}, "unk_token": "a"}}"#;

/// Experts in blocks of 4 bits, as they are published: each weight is what the OCP's specification says of its code and scale.
fn in_mxfp4(folder: &Path) -> Outcome {
    const VALUES: [f32; 16] =
        [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0];
    let expected = json(&folder.join("expected.json"))?;
    let (experts, width, ffn) = (6, 64, 32);
    let mut tensors = read(&folder.join("model-f32.gguf"), &expected["hf_config"])?;
    let mut seed = 1u32;
    let mut random = |count: usize, least: u32, range: u32| -> Vec<u8> {
        let mut next = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (least + (seed >> 16) % range) as u8
        };
        (0..count).map(|_| next()).collect()
    };
    let stem = "model.layers.1.mlp.experts";
    let [blocks, scales] =
        [random(experts * 2 * ffn * width / 2, 0, 256), random(experts * 2 * ffn * width / 32, 120, 8)];
    tensors.retain(|t| t.name != format!("{stem}.gate_up_proj"));
    for (name, shape, bytes) in [
        ("blocks", vec![experts, 2 * ffn, width / 32, 16], &blocks),
        ("scales", vec![experts, 2 * ffn, width / 32], &scales),
    ] {
        let name = format!("{stem}.gate_up_proj_{name}");
        tensors.push(Tensor { name, shape, numbers: Vec::new(), bytes: Some(bytes.clone()) });
    }
    let written = tempfile::tempdir()?;
    let mut config = expected["hf_config"].clone();
    config["quantization_config"] = json!({ "quant_method": "mxfp4" });
    write_tensors(tensors, &config, written.path())?;
    let file = models::open(written.path())?;
    let weight = |row: usize, col: usize| {
        let (at, scale) = ((row * width + col) / 2, scales[(row * width + col) / 32]);
        VALUES[(blocks[at] >> (col % 2 * 4) & 15) as usize] * 2f32.powi(i32::from(scale) - 127)
    };
    for (first, name) in ["gate", "up"].iter().enumerate() {
        let name = format!("blk.1.ffn_{name}_exps.weight");
        let tensor = file.tensor(&name).ok_or("the experts are not there")?;
        let format = formats::by_id(tensor.kind.id).ok_or("MXFP4 is known")?;
        let mut found = vec![0.0; tensor.elements() as usize];
        (format.decode)(file.data(tensor), &mut found);
        let all = (0..experts * ffn).flat_map(|row| (0..width).map(move |col| (row, col)));
        for ((row, col), found) in all.zip(found) {
            let expected = weight(2 * row + first, col);
            if found != expected {
                return Err(format!("{name}: row {row}, column {col}: {found}, not {expected}").into());
            }
        }
    }
    // With the kinds of its neighbours it computes.
    let mut subject = Subject::with_file(file, &Target::cpu(), Precision::F32)?;
    match subject.logits(&[1, 2, 3], false)?.iter().all(|logit| logit.is_finite()) {
        true => Ok(()),
        false => Err("logits are not finite".into()),
    }
}

/// A tensor on its way back to Hugging Face's names: in F32, or these bytes.
struct Tensor {
    name: String,
    shape: Vec<usize>,
    numbers: Vec<f32>,
    bytes: Option<Vec<u8>>,
}

fn write(gguf: &Path, config: &Value, folder: &Path) -> Outcome {
    write_tensors(read(gguf, config)?, config, folder)
}

/// Writes a model in two files with an index.
fn write_tensors(tensors: Vec<Tensor>, config: &Value, folder: &Path) -> Outcome {
    let mut map = serde_json::Map::new();
    for (number, part) in tensors.chunks(tensors.len().div_ceil(2)).enumerate() {
        let name = format!("model-{:05}-of-00002.safetensors", number + 1);
        let views = part.iter().map(|t| {
            let view = match &t.bytes {
                Some(bytes) => TensorView::new(Dtype::U8, t.shape.clone(), bytes),
                None => TensorView::new(Dtype::F32, t.shape.clone(), bytemuck::cast_slice(&t.numbers)),
            };
            Ok((t.name.as_str(), view?))
        });
        let views: Vec<_> = views.collect::<Result<_, safetensors::SafeTensorError>>()?;
        std::fs::write(folder.join(&name), safetensors::serialize(views, None)?)?;
        map.extend(part.iter().map(|t| (t.name.clone(), json!(name))));
    }
    std::fs::write(folder.join("model.safetensors.index.json"), json!({ "weight_map": map }).to_string())?;
    Ok(std::fs::write(folder.join("config.json"), config.to_string())?)
}

/// A fixture's tensors as Hugging Face's library has them: what the converter of llama.cpp did, undone.
fn read(gguf: &Path, config: &Value) -> Result<Vec<Tensor>, Failed> {
    let file = Gguf::open(gguf)?;
    let kind = config["model_type"].as_str().unwrap_or_default();
    let count = |name: &str| config[name].as_u64().map(|n| n as usize);
    let heads = |name: &str| count(name).unwrap_or(1);
    let head_dim = count("head_dim").unwrap_or(heads("hidden_size") / heads("num_attention_heads"));
    let is_llama = file.metadata().need_str("general.architecture").ok() == Some("llama");
    let lacks_one = kind.starts_with("gemma") || kind.starts_with("qwen3_5");
    let mut tensors = Vec::new();
    for tensor in file.tensors().iter().filter(|t| !t.name.starts_with("rope_")) {
        let format = formats::by_id(tensor.kind.id).ok_or("a type of a fixture is known")?;
        let mut numbers = vec![0.0; tensor.elements() as usize];
        (format.decode)(file.data(tensor), &mut numbers);
        let mut shape: Vec<usize> = tensor.dims.iter().rev().map(|&dim| dim as usize).collect();
        let rotated = ["attn_q.", "attn_k."].iter().find(|name| tensor.name.contains(**name));
        if let Some(which) = rotated.filter(|_| is_llama) {
            let count =
                heads(if *which == "attn_q." { "num_attention_heads" } else { "num_key_value_heads" });
            numbers = halves(&numbers, count, head_dim);
        }
        if lacks_one && tensor.name.ends_with("norm.weight") && !tensor.name.contains("ssm_norm") {
            numbers.iter_mut().for_each(|number| *number -= 1.0);
        }
        if tensor.name.ends_with("conv1d.weight") || tensor.name.ends_with("shortconv.conv.weight") {
            shape.insert(1, 1);
        }
        if tensor.name.ends_with("ssm_a") {
            numbers.iter_mut().for_each(|number| *number = (-*number).ln());
        }
        if let Some((before, all)) = of_values(&tensor.name, config, &numbers, &shape) {
            let (keys, values) = (heads("linear_num_key_heads"), heads("linear_num_value_heads"));
            numbers = by_key(&numbers, before, all, keys, values / keys);
        }
        let name = theirs(&tensor.name, kind)?;
        // Experts have a tensor each, where they are not one.
        if name.contains("{}") {
            let each = numbers.len() / shape[0];
            for (number, numbers) in numbers.chunks(each).enumerate() {
                let name = name.replace("{}", &number.to_string());
                tensors.push(Tensor {
                    name,
                    shape: shape[1..].to_vec(),
                    numbers: numbers.to_vec(),
                    bytes: None,
                });
            }
            continue;
        }
        tensors.push(Tensor { name, shape, numbers, bytes: None });
    }
    Ok(fused(tensors, kind))
}

/// Numbers in front of heads of values, and numbers of all these heads, again and again; none where a tensor has no such heads.
fn of_values(name: &str, config: &Value, numbers: &[f32], shape: &[usize]) -> Option<(usize, usize)> {
    let count = |name: &str| config[name].as_u64().map(|n| n as usize);
    let width = count("linear_value_head_dim")?;
    let (keys, values) =
        (2 * count("linear_num_key_heads")? * width, count("linear_num_value_heads")? * width);
    let stem = name.split('.').nth(2)?;
    match stem {
        "attn_qkv" | "ssm_conv1d" => {
            let row = numbers.len() / (keys + values);
            Some((keys * row, values * row))
        }
        "attn_gate" | "ssm_beta" | "ssm_alpha" | "ssm_dt" | "ssm_a" => Some((0, numbers.len())),
        "ssm_out" => Some((0, shape[1])),
        _ => None,
    }
}

/// Heads that take turns, one of each head of keys, put together by head of keys.
fn by_key(numbers: &[f32], before: usize, all: usize, keys: usize, ratio: usize) -> Vec<f32> {
    let each = all / (keys * ratio);
    let mut ordered = Vec::with_capacity(numbers.len());
    for line in numbers.chunks(before + all) {
        let (kept, heads) = line.split_at(before);
        ordered.extend_from_slice(kept);
        for key in 0..keys {
            for turn in 0..ratio {
                ordered.extend_from_slice(&heads[(turn * keys + key) * each..][..each]);
            }
        }
    }
    ordered
}

/// Gate and up of all experts as the one tensor that newer checkpoints have: rows of gate and then of up, or in gpt-oss in turns and as columns.
fn fused(tensors: Vec<Tensor>, kind: &str) -> Vec<Tensor> {
    let mut fused: Vec<Tensor> = Vec::new();
    for mut t in tensors {
        let turned = kind == "gpt_oss" && t.shape.len() == 3 && t.name.contains("experts.");
        if turned {
            let [rows, cols] = [t.shape[1], t.shape[2]];
            let of_expert = |numbers: &[f32]| -> Vec<f32> {
                (0..cols)
                    .flat_map(|c| (0..rows).map(move |r| (r, c)))
                    .map(|(r, c)| numbers[r * cols + c])
                    .collect()
            };
            t.numbers = t.numbers.chunks(rows * cols).flat_map(of_expert).collect();
            t.shape.swap(1, 2);
        }
        let Some((stem, second)) = t.name.split_once('#').map(|(s, which)| (s.to_string(), which == "up"))
        else {
            fused.push(t);
            continue;
        };
        let Some(other) = fused.iter().position(|other| other.name.split('#').next() == Some(&stem)) else {
            fused.push(t);
            continue;
        };
        let other = fused.remove(other);
        let (gate, up) = if second { (other, t) } else { (t, other) };
        let (mut shape, experts) = (gate.shape.clone(), gate.shape[0]);
        let axis = if kind == "gpt_oss" { shape.len() - 1 } else { 1 };
        shape[axis] *= 2;
        let each = if kind == "gpt_oss" { 1 } else { gate.numbers.len() / experts };
        let pairs = gate.numbers.chunks(each).zip(up.numbers.chunks(each));
        let numbers = pairs.flat_map(|(gate, up)| [gate, up].concat()).collect();
        fused.push(Tensor { name: stem, shape, numbers, bytes: None });
    }
    fused
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

/// The name of a tensor; `{}` in it is the number of an expert, and `#` stands in front of gate and up of one tensor.
fn theirs(name: &str, kind: &str) -> Result<String, Failed> {
    let top = [
        ("token_embd.weight", "model.embed_tokens.weight"),
        ("output_norm.weight", "model.norm.weight"),
        ("token_embd_norm.weight", "model.embedding_norm.weight"),
        ("output.weight", "lm_head.weight"),
    ];
    if let Some((_, theirs)) = top.iter().find(|(gguf, _)| *gguf == name) {
        return Ok((*theirs).into());
    }
    let (layer, rest) = name.strip_prefix("blk.").and_then(|rest| rest.split_once('.')).ok_or(name)?;
    let (stem, end) = match rest.rsplit_once('.') {
        Some((stem, end @ ("weight" | "bias"))) => (stem, format!(".{end}")),
        _ => (rest, String::new()),
    };
    let whole = |name: &str| Ok(format!("model.layers.{layer}.{name}"));
    let (lfm2, mixtral, gpt_oss) = (kind.starts_with("lfm2"), kind == "mixtral", kind == "gpt_oss");
    let behind = if end == ".bias" { "_bias" } else { "" };
    if let Some(which) = stem.strip_suffix("_exps").and_then(|stem| stem.strip_prefix("ffn_")) {
        let number = ["gate", "down", "up"].iter().position(|name| *name == which).ok_or(name)? + 1;
        return match which {
            _ if lfm2 => whole(&format!("feed_forward.experts.{{}}.w{number}.weight")),
            _ if mixtral => whole(&format!("block_sparse_moe.experts.{{}}.w{number}.weight")),
            "down" if gpt_oss || kind.starts_with("qwen3_5") => {
                whole(&format!("mlp.experts.down_proj{behind}"))
            }
            _ if gpt_oss || kind.starts_with("qwen3_5") => {
                whole(&format!("mlp.experts.gate_up_proj{behind}#{which}"))
            }
            _ => whole(&format!("mlp.experts.{{}}.{which}_proj.weight")),
        };
    }
    match stem {
        "ssm_a" => return whole("linear_attn.A_log"),
        "ssm_dt" => return whole("linear_attn.dt_bias"),
        "attn_sinks" => return whole("self_attn.sinks"),
        "exp_probs_b" => return whole("feed_forward.expert_bias"),
        _ => {}
    }
    let theirs = match stem {
        "attn_norm" if lfm2 => "operator_norm",
        "attn_norm" => "input_layernorm",
        "attn_q" => "self_attn.q_proj",
        "attn_k" => "self_attn.k_proj",
        "attn_v" => "self_attn.v_proj",
        "attn_qkv" if kind.starts_with("qwen3_5") => "linear_attn.in_proj_qkv",
        "attn_qkv" => "self_attn.qkv_proj",
        "attn_gate" => "linear_attn.in_proj_z",
        "ssm_beta" => "linear_attn.in_proj_b",
        "ssm_alpha" => "linear_attn.in_proj_a",
        "ssm_conv1d" => "linear_attn.conv1d",
        "ssm_norm" => "linear_attn.norm",
        "ssm_out" => "linear_attn.out_proj",
        "shortconv.in_proj" => "conv.in_proj",
        "shortconv.conv" => "conv.conv",
        "shortconv.out_proj" => "conv.out_proj",
        "attn_output" if lfm2 => "self_attn.out_proj",
        "attn_output" => "self_attn.o_proj",
        "attn_q_norm" if lfm2 => "self_attn.q_layernorm",
        "attn_k_norm" if lfm2 => "self_attn.k_layernorm",
        "attn_q_norm" => "self_attn.q_norm",
        "attn_k_norm" => "self_attn.k_norm",
        "post_attention_norm" => "post_attention_layernorm",
        "post_ffw_norm" => "post_feedforward_layernorm",
        "ffn_norm" if kind.starts_with("gemma") => "pre_feedforward_layernorm",
        "ffn_norm" if lfm2 => "ffn_norm",
        "ffn_norm" => "post_attention_layernorm",
        "ffn_gate_inp" if lfm2 => "feed_forward.gate",
        "ffn_gate_inp" if mixtral => "block_sparse_moe.gate",
        "ffn_gate_inp" if gpt_oss => "mlp.router",
        "ffn_gate_inp" => "mlp.gate",
        "ffn_gate_inp_shexp" => "mlp.shared_expert_gate",
        "ffn_gate_shexp" => "mlp.shared_expert.gate_proj",
        "ffn_up_shexp" => "mlp.shared_expert.up_proj",
        "ffn_down_shexp" => "mlp.shared_expert.down_proj",
        "ffn_gate" if lfm2 => "feed_forward.w1",
        "ffn_down" if lfm2 => "feed_forward.w2",
        "ffn_up" if lfm2 => "feed_forward.w3",
        "ffn_gate" => "mlp.gate_proj",
        "ffn_up" if kind == "phi3" => "mlp.gate_up_proj",
        "ffn_up" => "mlp.up_proj",
        "ffn_down" => "mlp.down_proj",
        other => return Err(format!("{other} is not known").into()),
    };
    whole(&format!("{theirs}{end}"))
}
