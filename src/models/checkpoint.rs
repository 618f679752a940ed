//! Hugging Face's checkpoints as the models that GGUF knows: which tensor is which, and which key follows from which field. A row in
//! [`FAMILIES`] for each `model_type`.
//!
//! Numbers stay where they are: matrices are rows of inputs in both kinds of file. What differs is that queries and keys lie as halves
//! (GGUF files of Llama's have them as neighbours), that Gemma's norms lack the one that is added to them, and that factors of frequencies
//! are given by their formula.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use crate::checkpoint::{Checkpoint, Config, Stored, is_checkpoint};
use crate::error::{Error, Result};
use crate::formats;
use crate::gguf::{Assembly, Gguf, Value as Key, shown};

/// A kind of checkpoint.
struct Family {
    /// `model_type` of `config.json`.
    model_type: &'static str,
    /// `general.architecture` of the graph that computes it.
    architecture: &'static str,
    /// Activations that its feed-forward may name.
    activations: &'static [&'static str],
    /// What its configuration leaves out, as its published code has it.
    defaults: Defaults,
    /// Names of a block's tensors, without `.weight` and `.bias`: theirs, and GGUF's.
    block: &'static [&'static [[&'static str; 2]]],
    /// The keys that its relatives lack.
    keys: fn(&Config, &mut Assembly, &Sizes) -> Result<()>,
    /// Whether 1 is added to the weights of norms.
    norms_lack_one: bool,
}

/// Numbers that a configuration may leave out.
#[derive(Clone, Copy)]
struct Defaults {
    heads: Option<u32>,
    kv_heads: Option<u32>,
    head_dim: Option<u32>,
    base: f64,
    eps: f64,
    context: Option<u32>,
}

/// Numbers that several keys follow from.
struct Sizes {
    layers: usize,
    width: u32,
    heads: u32,
    head_dim: u32,
    context: u32,
    architecture: &'static str,
}

/// Names that most share.
const ATTENTION: &[[&str; 2]] = &[
    ["input_layernorm", "attn_norm"],
    ["self_attn.q_proj", "attn_q"],
    ["self_attn.k_proj", "attn_k"],
    ["self_attn.v_proj", "attn_v"],
    ["self_attn.o_proj", "attn_output"],
    ["self_attn.q_norm", "attn_q_norm"],
    ["self_attn.k_norm", "attn_k_norm"],
];
const FEED_FORWARD: &[[&str; 2]] =
    &[["mlp.gate_proj", "ffn_gate"], ["mlp.up_proj", "ffn_up"], ["mlp.down_proj", "ffn_down"]];

const LLAMA: Family = Family {
    model_type: "llama",
    architecture: "llama",
    activations: &["silu", "swish"],
    defaults: Defaults { heads: None, kv_heads: None, head_dim: None, base: 1e4, eps: 1e-6, context: None },
    block: &[ATTENTION, &[["post_attention_layernorm", "ffn_norm"]], FEED_FORWARD],
    keys: |_, _, _| Ok(()),
    norms_lack_one: false,
};

const PHI3: Family = Family {
    model_type: "phi3",
    architecture: "phi3",
    defaults: Defaults { eps: 1e-5, ..LLAMA.defaults },
    block: &[&[
        ["input_layernorm", "attn_norm"],
        ["self_attn.qkv_proj", "attn_qkv"],
        ["self_attn.o_proj", "attn_output"],
        ["post_attention_layernorm", "ffn_norm"],
        ["mlp.gate_up_proj", "ffn_up"],
        ["mlp.down_proj", "ffn_down"],
    ]],
    keys: window,
    ..LLAMA
};

const GEMMA3: Family = Family {
    model_type: "gemma3",
    architecture: "gemma3",
    activations: &["gelu_pytorch_tanh"],
    defaults: Defaults {
        heads: Some(8),
        kv_heads: Some(4),
        head_dim: Some(256),
        base: 1e6,
        eps: 1e-6,
        context: Some(131_072),
    },
    block: &[
        ATTENTION,
        &[
            ["post_attention_layernorm", "post_attention_norm"],
            ["pre_feedforward_layernorm", "ffn_norm"],
            ["post_feedforward_layernorm", "post_ffw_norm"],
        ],
        FEED_FORWARD,
    ],
    keys: gemma3,
    norms_lack_one: true,
};

/// Every kind that is known.
const FAMILIES: &[Family] = &[
    LLAMA,
    Family { model_type: "mistral", keys: window, ..LLAMA },
    Family { model_type: "qwen2", architecture: "qwen2", keys: no_window, ..LLAMA },
    Family {
        model_type: "qwen3",
        architecture: "qwen3",
        defaults: Defaults { head_dim: Some(128), ..LLAMA.defaults },
        keys: no_window,
        ..LLAMA
    },
    PHI3,
    Family { model_type: "gemma3_text", ..GEMMA3 },
    GEMMA3,
];

/// Opens a model: a GGUF file, or a checkpoint's folder.
///
/// # Errors
/// [`Error::Model`] names the file and the key, field or tensor that is wrong or not known.
pub fn open(path: &Path) -> Result<Gguf> {
    if is_checkpoint(path) {
        return read(Checkpoint::open(path)?);
    }
    if path.is_dir() {
        let what = "is a folder, expected a GGUF file or a folder with config.json and safetensors files";
        return Err(Error::Model(what.into()).in_file(path));
    }
    Gguf::open(path)
}

fn read(checkpoint: Checkpoint) -> Result<Gguf> {
    let outer = &checkpoint.config.clone();
    let model_type = outer.word("model_type")?.unwrap_or_default();
    let Some(family) = FAMILIES.iter().find(|family| family.model_type == model_type) else {
        let known: Vec<&str> = FAMILIES.iter().map(|family| family.model_type).collect();
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
            let what = format!("quantization_config says that weights are stored by {method:?}");
            return Err(
                config.error(format!("{what}; known are F32, F16 and BF16; convert the model to GGUF"))
            );
        }
    }
    let names = names(&checkpoint.tensors, family)?;
    let extra = Extra::of(&checkpoint, outer, &config)?;
    let Checkpoint { mut assembly, tensors, .. } = checkpoint;
    keys(&config, family, &mut assembly)?;
    extra.write(&mut assembly);
    let tied = config.get("tie_word_embeddings").or(outer.get("tie_word_embeddings")) == Some(&json!(true));
    for (name, gguf) in names {
        let Stored { dims, kind, type_name, file, range } = tensors[&name].clone();
        // The output of some files is a second copy of the embedding.
        if tied && gguf == "output.weight" {
            continue;
        }
        let Some(kind) = kind else {
            return Err(outer.error(format!(
                "tensor {} is {type_name}; known are F32, F16 and BF16; convert the model to GGUF",
                shown(&name)
            )));
        };
        if family.norms_lack_one && gguf.ends_with("norm.weight") {
            let format = formats::by_id(kind.id);
            let bytes = assembly.bytes(file)[range].to_vec();
            let mut numbers = vec![0.0; bytes.len() * kind.weights / kind.bytes];
            if let Some(format) = format {
                (format.decode)(&bytes, &mut numbers);
            }
            numbers.iter_mut().for_each(|number| *number += 1.0);
            assembly.make(gguf, &numbers);
        } else {
            assembly.stored(gguf, dims, kind, file, range);
        }
    }
    assembly.finish()
}

/// Every tensor's name with the one that GGUF gives it. What belongs to eyes and ears stays unused; what else is not known is refused.
fn names(tensors: &BTreeMap<String, Stored>, family: &Family) -> Result<Vec<(String, String)>> {
    const UNUSED: [&str; 4] =
        ["vision_tower.", "multi_modal_projector.", "model.vision_tower.", "model.multi_modal_projector."];
    const PREFIXES: [&str; 4] =
        ["model.language_model.", "language_model.model.", "language_model.", "model."];
    let mut names = Vec::new();
    for name in tensors.keys().filter(|name| !UNUSED.iter().any(|unused| name.starts_with(unused))) {
        let inner = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name);
        match gguf_name(inner, family) {
            Some(gguf) => names.push((name.clone(), gguf)),
            // Old files carry what follows from the configuration.
            None if inner.ends_with("rotary_emb.inv_freq") => {}
            None => {
                return Err(Error::Model(format!(
                    "tensor {} is not part of the {} models that are known here",
                    shown(name),
                    family.model_type
                )));
            }
        }
    }
    Ok(names)
}

fn gguf_name(name: &str, family: &Family) -> Option<String> {
    let top = match name {
        "embed_tokens.weight" => Some("token_embd.weight"),
        "norm.weight" => Some("output_norm.weight"),
        "lm_head.weight" => Some("output.weight"),
        _ => None,
    };
    if let Some(top) = top {
        return Some(top.into());
    }
    let (layer, rest) = name.strip_prefix("layers.")?.split_once('.')?;
    let layer: u32 = layer.parse().ok()?;
    let (stem, end) = rest.rsplit_once('.').filter(|(_, end)| ["weight", "bias"].contains(end))?;
    let [_, gguf] = family.block.iter().copied().flatten().find(|[theirs, _]| *theirs == stem)?;
    Some(format!("blk.{layer}.{gguf}.{end}"))
}

/// The keys that all kinds have.
fn keys(config: &Config, family: &Family, out: &mut Assembly) -> Result<()> {
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
    let rotary = (head_dim as f64 * config.number("partial_rotary_factor")?.unwrap_or(1.0)) as u32;
    out.key("general.architecture", Key::Str(architecture.as_bytes()));
    out.key(&key("context_length"), Key::U32(context));
    out.key(&key("embedding_length"), Key::U32(width));
    out.key(&key("block_count"), Key::U32(layers));
    out.key(&key("feed_forward_length"), Key::U32(config.need_count("intermediate_size")?));
    out.key(&key("attention.head_count"), Key::U32(heads));
    out.key(&key("attention.head_count_kv"), Key::U32(kv_heads));
    out.key(&key("attention.key_length"), Key::U32(head_dim));
    out.key(&key("attention.value_length"), Key::U32(head_dim));
    out.key(&key("rope.dimension_count"), Key::U32(rotary));
    let eps = config.number("rms_norm_eps")?.unwrap_or(defaults.eps);
    out.key(&key("attention.layer_norm_rms_epsilon"), Key::F32(eps as f32));
    let sizes = Sizes { layers: layers as usize, width, heads, head_dim, context, architecture };
    rope(config, defaults.base, rotary, out, &sizes)?;
    (family.keys)(config, out, &sizes)
}

/// Rotary positions: `rope_parameters` of newer files, else `rope_theta` and `rope_scaling`.
fn rope(config: &Config, base: f64, rotary: u32, out: &mut Assembly, sizes: &Sizes) -> Result<()> {
    let key = |name: &str| format!("{}.rope.{name}", sizes.architecture);
    let parameters = config.object("rope_parameters")?;
    // A kind of layer each, in models with windows.
    let parameters = match &parameters {
        Some(all) => Some(all.object("full_attention")?.unwrap_or_else(|| all.clone())),
        None => None,
    };
    let of_base = parameters.as_ref().map_or(Ok(None), |rope| rope.number("rope_theta"))?;
    let base = of_base.or(config.number("rope_theta")?).unwrap_or(base);
    out.key(&key("freq_base"), Key::F32(base as f32));
    let Some(scaling) = parameters.map_or_else(|| config.object("rope_scaling"), |rope| Ok(Some(rope)))?
    else {
        return Ok(());
    };
    let kind = scaling.word("rope_type")?.or(scaling.word("type")?).unwrap_or("default");
    let need = |name: &str| {
        scaling.number(name)?.ok_or_else(|| scaling.error(format!("{name} of rope_scaling is missing")))
    };
    match kind {
        "default" => {}
        "linear" => {
            out.key(&key("scaling.type"), Key::Str(b"linear"));
            out.key(&key("scaling.factor"), Key::F32(need("factor")? as f32));
        }
        "llama3" => {
            let band = Band {
                factor: need("factor")?,
                low: need("low_freq_factor")?,
                high: need("high_freq_factor")?,
                original: need("original_max_position_embeddings")?,
            };
            out.make("rope_freqs.weight".into(), &llama3_factors(base, rotary, &band));
        }
        "yarn" => {
            scaling.only("truncate", &[json!(true)])?;
            for name in ["mscale", "mscale_all_dim"] {
                scaling.only(name, &[])?;
            }
            out.key(&key("scaling.type"), Key::Str(b"yarn"));
            out.key(&key("scaling.factor"), Key::F32(need("factor")? as f32));
            let original = scaling.count("original_max_position_embeddings")?.unwrap_or(sizes.context);
            out.key(&key("scaling.original_context_length"), Key::U32(original));
            for (theirs, gguf) in [
                ("beta_fast", "scaling.yarn_beta_fast"),
                ("beta_slow", "scaling.yarn_beta_slow"),
                ("attention_factor", "scaling.yarn_attn_factor"),
            ] {
                if let Some(number) = scaling.number(theirs)? {
                    out.key(&key(gguf), Key::F32(number as f32));
                }
            }
        }
        "longrope" => {
            let original = config.count("original_max_position_embeddings")?;
            let original = original.or(scaling.count("original_max_position_embeddings")?);
            let original =
                original.ok_or_else(|| config.error("original_max_position_embeddings is missing".into()))?;
            out.key(&key("scaling.original_context_length"), Key::U32(original));
            let grown = scaling.number("factor")?.unwrap_or(sizes.context as f64 / original.max(1) as f64);
            let magnitude = scaling.number("attention_factor")?.unwrap_or(match grown > 1.0 {
                true => (1.0 + grown.ln() / (original as f64).ln()).sqrt(),
                false => 1.0,
            });
            out.key(&key("scaling.attn_factor"), Key::F32(magnitude as f32));
            for (theirs, gguf) in [("short_factor", "short"), ("long_factor", "long")] {
                let factors = scaling.numbers(theirs)?;
                let factors =
                    factors.ok_or_else(|| scaling.error(format!("{theirs} of rope_scaling is missing")))?;
                out.make(format!("rope_factors_{gguf}.weight"), &factors);
            }
        }
        other => {
            let what = format!("rope_scaling is of type \"{}\"", shown(other));
            return Err(config.error(format!("{what}; known are default, linear, llama3, yarn and longrope")));
        }
    }
    Ok(())
}

/// Which frequencies Llama 3 scales.
struct Band {
    factor: f64,
    low: f64,
    high: f64,
    original: f64,
}

/// What Llama 3.1 divides each frequency by (Llama's `apply_scaling`): short waves by 1, those longer than the original context by the
/// factor, those between by something between.
fn llama3_factors(base: f64, rotary: u32, band: &Band) -> Vec<f32> {
    let factor = |i: u32| {
        let wave = std::f64::consts::TAU * base.powf(2.0 * i as f64 / rotary as f64);
        let turns = band.original / wave;
        let smooth = (turns - band.low) / (band.high - band.low);
        match turns {
            turns if turns > band.high => 1.0,
            turns if turns < band.low => band.factor,
            _ => 1.0 / ((1.0 - smooth) / band.factor + smooth),
        }
    };
    (0..rotary / 2).map(|i| factor(i) as f32).collect()
}

/// Mistral's and Phi's window, of all layers.
fn window(config: &Config, out: &mut Assembly, sizes: &Sizes) -> Result<()> {
    if let Some(window) = config.count("sliding_window")? {
        out.key(&format!("{}.attention.sliding_window", sizes.architecture), Key::U32(window));
    }
    Ok(())
}

/// Qwen's window, which no published model uses.
fn no_window(config: &Config, _: &mut Assembly, _: &Sizes) -> Result<()> {
    config.only("use_sliding_window", &[json!(false)])
}

/// Gemma 3's windows, bases and scale.
fn gemma3(config: &Config, out: &mut Assembly, sizes: &Sizes) -> Result<()> {
    config.only("attn_logit_softcapping", &[])?;
    config.only("final_logit_softcapping", &[])?;
    config.only("use_bidirectional_attention", &[json!(false)])?;
    // The graph knows it by the number of layers, as GGUF files do not say it.
    let expected = if sizes.layers == 62 { sizes.width / sizes.heads.max(1) } else { sizes.head_dim };
    config.only("query_pre_attn_scalar", &[json!(expected), json!(expected as f64)])?;
    out.key("gemma3.attention.sliding_window", Key::U32(config.count("sliding_window")?.unwrap_or(4096)));
    let windowed: Vec<bool> = match config.words("layer_types")? {
        Some(kinds) => kinds.iter().map(|kind| kind == "sliding_attention").collect(),
        None => {
            let every = config.count("sliding_window_pattern")?.unwrap_or(6).max(1) as usize;
            (1..=sizes.layers).map(|layer| !layer.is_multiple_of(every)).collect()
        }
    };
    out.bools("gemma3.attention.sliding_window_pattern", &windowed);
    let windows = match config.object("rope_parameters")? {
        Some(all) => all.object("sliding_attention")?,
        None => None,
    };
    let of_windows = windows.map_or(Ok(None), |rope| rope.number("rope_theta"))?;
    let base = of_windows.or(config.number("rope_local_base_freq")?).unwrap_or(1e4);
    out.key("gemma3.rope.freq_base_swa", Key::F32(base as f32));
    Ok(())
}

/// What stands in the files beside the configuration: the tokens that begin and end texts, and the chat template.
struct Extra {
    bos: Option<u32>,
    ends: Vec<u32>,
    template: Option<String>,
}

impl Extra {
    fn of(checkpoint: &Checkpoint, outer: &Config, config: &Config) -> Result<Extra> {
        let generation = checkpoint.beside("generation_config.json")?.unwrap_or(Value::Null);
        let named = |key: &str| {
            let found = [generation.get(key), config.get(key), outer.get(key)];
            found.into_iter().flatten().find(|value| !value.is_null()).cloned()
        };
        let ids = |value: Option<Value>| -> Vec<u32> {
            let id = |value: &Value| value.as_u64().and_then(|id| id.try_into().ok());
            match value {
                Some(Value::Array(ids)) => ids.iter().filter_map(id).collect(),
                Some(one) => id(&one).into_iter().collect(),
                None => Vec::new(),
            }
        };
        let written = checkpoint.text_beside("chat_template.jinja")?;
        let template = match written {
            Some(text) => Some(text),
            None => checkpoint
                .beside("tokenizer_config.json")?
                .and_then(|config| template_of(&config["chat_template"])),
        };
        Ok(Extra {
            bos: ids(named("bos_token_id")).first().copied(),
            ends: ids(named("eos_token_id")),
            template,
        })
    }

    fn write(&self, out: &mut Assembly) {
        if let Some(bos) = self.bos {
            out.key("tokenizer.ggml.bos_token_id", Key::U32(bos));
        }
        // GGUF has a key for each reason to end.
        for (key, &id) in ["eos", "eot", "eom"].iter().zip(&self.ends) {
            out.key(&format!("tokenizer.ggml.{key}_token_id"), Key::U32(id));
        }
        if let Some(template) = &self.template {
            out.key("tokenizer.chat_template", Key::Str(template.as_bytes()));
        }
    }
}

/// The template, or of several the default one.
fn template_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(all) => all
            .iter()
            .find(|one| one["name"] == "default")
            .and_then(|one| one["template"].as_str())
            .map(str::to_owned),
        _ => None,
    }
}
