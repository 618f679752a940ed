//! Hugging Face's checkpoints as the models that GGUF knows: which tensor is which, and which key follows from which field. A row in
//! [`FAMILIES`](families::FAMILIES) for each `model_type`.
//!
//! Numbers stay where they are as far as they can: matrices are rows of inputs in both kinds of file. What differs is that queries and keys
//! lie as halves (GGUF files of Llama's have them as neighbours), that some norms lack the one that is added to them, that factors of
//! frequencies are given by their formula, and that experts and heads lie in another order, which are then put together when they are first read.

mod extra;
mod families;
mod keys;
mod rope;
mod tensors;

use std::path::Path;

use serde_json::{Value, json};

use crate::checkpoint::{Checkpoint, Config, is_checkpoint};
use crate::error::{Error, Result};
use crate::gguf::{Assembly, Gguf, Value as Key, shown};
use extra::Extra;
use families::{FAMILIES, Family};

/// Numbers that several keys follow from.
struct Sizes {
    layers: usize,
    width: u32,
    heads: u32,
    kv_heads: u32,
    head_dim: u32,
    context: u32,
    architecture: &'static str,
}

/// The `model_type`s of checkpoints that [`open`] reads.
pub fn checkpoint_types() -> impl Iterator<Item = &'static str> {
    FAMILIES.iter().map(|family| family.model_type)
}

/// Opens a model: a GGUF file, or a checkpoint's folder.
///
/// # Errors
/// [`Error::Model`] names the file and the key, field or tensor that is wrong or not known.
pub fn open(path: &Path) -> Result<Gguf> {
    open_as(path, false)
}

/// Opens a model whose keys and tensors are those that a GGUF file of it has: of a checkpoint's folder with the tokenizer among the keys, and with
/// rows of queries and keys as GGUF has them.
///
/// # Errors
/// As [`open`], and where the folder's tokenizer is damaged or not understood.
pub fn open_as_gguf(path: &Path) -> Result<Gguf> {
    open_as(path, true)
}

fn open_as(path: &Path, as_gguf: bool) -> Result<Gguf> {
    if is_checkpoint(path) {
        return read(Checkpoint::open(path)?, as_gguf);
    }
    if path.is_dir() {
        let what = "is a folder, expected a GGUF file or a folder with config.json and safetensors files";
        return Err(Error::Model(what.into()).in_file(path));
    }
    Gguf::open(path)
}

fn read(checkpoint: Checkpoint, as_gguf: bool) -> Result<Gguf> {
    let outer = &checkpoint.config.clone();
    let model_type = outer.word("model_type")?.unwrap_or_default();
    let Some(family) = FAMILIES.iter().find(|family| family.model_type == model_type) else {
        let known: Vec<&str> = checkpoint_types().collect();
        return Err(outer.error(format!(
            "model_type is \"{}\"; known of safetensors are {}; convert others to GGUF",
            shown(model_type),
            known.join(", ")
        )));
    };
    // Models that also see have the part that speaks in an object of its own.
    let config = outer.object("text_config")?.unwrap_or_else(|| outer.clone());
    for config in [outer, &config] {
        if let Some(value) = config.get("quantization_config") {
            let method = value["quant_method"].as_str().unwrap_or("some method");
            if family.quantised != Some(method) {
                let what = format!("quantization_config says that weights are stored by {method:?}");
                return Err(
                    config.error(format!("{what}; known are F32, F16 and BF16; convert the model to GGUF"))
                );
            }
        }
    }
    let named = tensors::named(&checkpoint.tensors, family)?;
    let extra = Extra::of(&checkpoint, outer, &config)?;
    let tokenizer = if as_gguf { checkpoint.text_beside("tokenizer.json")? } else { None };
    let Checkpoint { mut assembly, tensors, .. } = checkpoint;
    let sizes = keys(&config, family, &mut assembly)?;
    extra.write(&mut assembly);
    if let Some(text) = tokenizer {
        extra.write_tokenizer(&text, outer, &mut assembly)?;
    }
    let ties = |config: &Config| {
        ["tie_word_embeddings", "tie_embedding"].iter().find_map(|key| config.get(key).cloned())
    };
    let tied = ties(&config).or_else(|| ties(outer)).map_or(family.tied, |tied| tied == json!(true));
    for (gguf, sources) in named {
        // The output of some files is a second copy of the embedding.
        if tied && gguf == "output.weight" {
            continue;
        }
        let turned = if as_gguf { family.turned_heads(&gguf, &sizes) } else { None };
        match turned {
            Some(heads) => tensors::add_neighbours(&config, &tensors, gguf, &sources, heads, &mut assembly)?,
            None => tensors::add(&config, family, &tensors, gguf, &sources, &mut assembly)?,
        }
    }
    assembly.finish(!as_gguf)
}

/// The keys that all kinds have.
fn keys(config: &Config, family: &Family, out: &mut Assembly) -> Result<Sizes> {
    let Family { architecture, defaults, .. } = *family;
    let key = |name: &str| format!("{architecture}.{name}");
    let need =
        |value: Option<u32>, name: &str| value.ok_or_else(|| config.error(format!("{name} is missing")));
    for name in ["hidden_act", "hidden_activation"] {
        let known: Vec<Value> = family.activations.iter().map(|&name| json!(name)).collect();
        config.only(name, &known)?;
    }
    let width = config.need_count("hidden_size")?;
    let heads = need(config.count("num_attention_heads")?.or(defaults.heads), "num_attention_heads")?;
    let kv_heads = config.count("num_key_value_heads")?.or(defaults.kv_heads).unwrap_or(heads);
    let head_dim = config.count("head_dim")?.or(defaults.head_dim).unwrap_or(width / heads.max(1));
    let context = config.count("max_position_embeddings")?.or(defaults.context);
    let context = need(context, "max_position_embeddings")?;
    let layers = config.need_count("num_hidden_layers")?;
    let rotary = (head_dim as f64 * rope::part(config, defaults.rotary)?) as u32;
    out.key("general.architecture", Key::Str(architecture.as_bytes()));
    out.key(&key("context_length"), Key::U32(context));
    out.key(&key("embedding_length"), Key::U32(width));
    out.key(&key("block_count"), Key::U32(layers));
    if let Some(ffn) = (family.feed_forward)(config)? {
        out.key(&key("feed_forward_length"), Key::U32(ffn));
    }
    out.key(&key("attention.head_count"), Key::U32(heads));
    if !family.kinds_of_layers {
        out.key(&key("attention.head_count_kv"), Key::U32(kv_heads));
    }
    out.key(&key("attention.key_length"), Key::U32(head_dim));
    out.key(&key("attention.value_length"), Key::U32(head_dim));
    out.key(&key("rope.dimension_count"), Key::U32(rotary));
    let eps = config.number(family.eps)?.unwrap_or(defaults.eps);
    out.key(&key("attention.layer_norm_rms_epsilon"), Key::F32(eps as f32));
    let sizes = Sizes { layers: layers as usize, width, heads, kv_heads, head_dim, context, architecture };
    rope::write(config, defaults.base, rotary, out, &sizes)?;
    (family.keys)(config, out, &sizes)?;
    Ok(sizes)
}
