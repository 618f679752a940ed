//! The keys that follow from the configurations of some kinds of checkpoints alone.

use serde_json::{Value, json};

use super::Sizes;
use crate::checkpoint::Config;
use crate::error::Result;
use crate::gguf::{Assembly, Value as Key};

/// How many experts there are, how many a row goes to, and how wide they are.
pub(super) fn experts(config: &Config, out: &mut Assembly, sizes: &Sizes) -> Result<()> {
    let key = |name: &str| format!("{}.{name}", sizes.architecture);
    let count = match config.count("num_experts")? {
        Some(count) => count,
        None => config.need_count("num_local_experts")?,
    };
    out.key(&key("expert_count"), Key::U32(count));
    out.key(&key("expert_used_count"), Key::U32(config.need_count("num_experts_per_tok")?));
    let width = match config.count("moe_intermediate_size")? {
        Some(width) => width,
        None => config.need_count("intermediate_size")?,
    };
    out.key(&key("expert_feed_forward_length"), Key::U32(width));
    Ok(())
}

/// The expert that every row goes to.
pub(super) fn shared_expert(config: &Config, out: &mut Assembly, sizes: &Sizes) -> Result<()> {
    let width = config.need_count("shared_expert_intermediate_size")?;
    out.key(&format!("{}.expert_shared_feed_forward_length", sizes.architecture), Key::U32(width));
    Ok(())
}

/// Every layer has experts.
pub(super) fn all_of_experts(config: &Config) -> Result<()> {
    config.only("decoder_sparse_step", &[json!(1)])?;
    config.only("mlp_only_layers", &[json!([])])
}

/// Whether weights of experts are divided by their sum: `missing` where nothing is said, and `usual` is what needs no key.
pub(super) fn normalises(
    config: &Config,
    out: &mut Assembly,
    sizes: &Sizes,
    [missing, usual]: [bool; 2],
) -> Result<()> {
    let said = if config.get("norm_topk_prob").is_some() { config.flag("norm_topk_prob")? } else { missing };
    if said != usual {
        out.key(&format!("{}.expert_weights_norm", sizes.architecture), Key::Bool(said));
    }
    Ok(())
}

/// Which of a model's layers have one kind of two; where it is not said, all but every `interval`-th are of the first.
fn layers_of(config: &Config, sizes: &Sizes, kinds: [&str; 2], interval: usize) -> Result<Vec<bool>> {
    let Some(found) = config.words("layer_types")? else {
        return Ok((1..=sizes.layers).map(|layer| !layer.is_multiple_of(interval)).collect());
    };
    let known = |kind: &String| kinds.iter().position(|known| known == kind);
    let all: Option<Vec<usize>> = found.iter().map(known).collect();
    match all {
        Some(all) if all.len() == sizes.layers => Ok(all.into_iter().map(|kind| kind == 0).collect()),
        _ => {
            let what = format!("a list of {} of {}", sizes.layers, kinds.join(" and "));
            Err(config.unexpected("layer_types", &json!(found), &what))
        }
    }
}

/// Qwen 3.5's delta nets and gated attention.
pub(super) fn qwen35(config: &Config, out: &mut Assembly, sizes: &Sizes) -> Result<()> {
    let key = |name: &str| format!("{}.{name}", sizes.architecture);
    config.only("attention_bias", &[json!(false)])?;
    config.only("attn_output_gate", &[json!(true)])?;
    let heads = DeltaHeads::read(config)?;
    out.key(&key("ssm.conv_kernel"), Key::U32(config.count("linear_conv_kernel_dim")?.unwrap_or(4)));
    out.key(&key("ssm.state_size"), Key::U32(heads.width));
    out.key(&key("ssm.group_count"), Key::U32(heads.keys));
    out.key(&key("ssm.time_step_rank"), Key::U32(heads.values));
    out.key(&key("ssm.inner_size"), Key::U32(heads.values.saturating_mul(heads.width)));
    let interval = config.count("full_attention_interval")?.unwrap_or(4).max(1);
    out.key(&key("full_attention_interval"), Key::U32(interval));
    let kinds = ["linear_attention", "full_attention"];
    out.bools(&key("attention.recurrent_layers"), &layers_of(config, sizes, kinds, interval as usize)?);
    if let Some(rope) = config.object("rope_parameters")?
        && let Some(sections) = rope.numbers("mrope_section")?
    {
        let mut sections: Vec<u32> = sections.iter().map(|&n| n as u32).collect();
        sections.resize(4, 0);
        out.counts(&key("rope.dimension_sections"), &sections);
    }
    Ok(())
}

/// Heads of a delta net.
pub(super) struct DeltaHeads {
    pub keys: u32,
    pub values: u32,
    pub width: u32,
}

impl DeltaHeads {
    pub(super) fn read(config: &Config) -> Result<DeltaHeads> {
        let width = config.count("linear_value_head_dim")?.unwrap_or(128);
        config.only("linear_key_head_dim", &[json!(width)])?;
        let keys = config.count("linear_num_key_heads")?.unwrap_or(16);
        let values = config.count("linear_num_value_heads")?.unwrap_or(32);
        if keys == 0 || !values.is_multiple_of(keys) || width == 0 {
            let what = format!("{values} heads of values for {keys} of keys, {width} wide");
            return Err(config.error(format!("linear_num_value_heads: {what}; expected a multiple")));
        }
        Ok(DeltaHeads { keys, values, width })
    }
}

/// LFM 2's convolutions, and its attention where a layer has some.
pub(super) fn lfm2(config: &Config, out: &mut Assembly, sizes: &Sizes) -> Result<()> {
    let key = |name: &str| format!("{}.{name}", sizes.architecture);
    out.key(&key("shortconv.l_cache"), Key::U32(config.count("conv_L_cache")?.unwrap_or(3)));
    let attends = match config.numbers("full_attn_idxs")? {
        Some(layers) if config.get("layer_types").is_none() => {
            (0..sizes.layers).map(|layer| layers.contains(&(layer as f32))).collect()
        }
        // Where nothing is said all layers attend.
        _ => layers_of(config, sizes, ["full_attention", "conv"], usize::MAX)?,
    };
    let kv_heads: Vec<u32> =
        attends.iter().map(|&attends| if attends { sizes.kv_heads } else { 0 }).collect();
    out.counts(&key("attention.head_count_kv"), &kv_heads);
    Ok(())
}

/// Two thirds of what the configuration says, times a factor, rounded up.
pub(super) fn lfm2_feed_forward(config: &Config) -> Result<Option<u32>> {
    let said = match config.count("block_ff_dim")? {
        Some(said) => said,
        None => config.need_count("intermediate_size")?,
    };
    if config.get("block_auto_adjust_ff_dim") == Some(&Value::Bool(false)) {
        return Ok(Some(said));
    }
    let factor = config.number("block_ffn_dim_multiplier")?.unwrap_or(1.0);
    let multiple = config.count("block_multiple_of")?.unwrap_or(256).max(1);
    let width = (factor * (2 * said as u64 / 3) as f64) as u32;
    Ok(width.checked_next_multiple_of(multiple))
}

/// And its experts.
pub(super) fn lfm2_moe(config: &Config, out: &mut Assembly, sizes: &Sizes) -> Result<()> {
    let key = |name: &str| format!("{}.{name}", sizes.architecture);
    config.only("use_expert_bias", &[json!(true)])?;
    normalises(config, out, sizes, [true, true])?;
    if let Some(scale) = config.number("routed_scaling_factor")?.filter(|&scale| scale != 1.0) {
        out.key(&key("expert_weights_scale"), Key::F32(scale as f32));
    }
    lfm2(config, out, sizes)?;
    experts(config, out, sizes)?;
    out.key(&key("leading_dense_block_count"), Key::U32(config.count("num_dense_layers")?.unwrap_or(2)));
    // Sigmoid.
    out.key(&key("expert_gating_func"), Key::U32(2));
    Ok(())
}

/// gpt-oss's windows and experts; its graph knows the numbers of its gates, and every second layer as one with a window where no key says otherwise.
pub(super) fn gpt_oss(config: &Config, out: &mut Assembly, sizes: &Sizes) -> Result<()> {
    config.only("swiglu_alpha", &[json!(1.702)])?;
    config.only("swiglu_limit", &[json!(7.0), json!(7)])?;
    let windowed = layers_of(config, sizes, ["sliding_attention", "full_attention"], 2)?;
    if windowed.iter().enumerate().any(|(layer, &windowed)| windowed != layer.is_multiple_of(2)) {
        out.bools("gpt-oss.attention.sliding_window_pattern", &windowed);
    }
    let window = config.count("sliding_window")?.unwrap_or(128);
    out.key("gpt-oss.attention.sliding_window", Key::U32(window));
    experts(config, out, sizes)
}

/// Mistral's, Mixtral's and Phi's window, of all layers.
pub(super) fn window(config: &Config, out: &mut Assembly, sizes: &Sizes) -> Result<()> {
    if let Some(window) = config.count("sliding_window")? {
        out.key(&format!("{}.attention.sliding_window", sizes.architecture), Key::U32(window));
    }
    Ok(())
}

/// Qwen's window, which no published model uses.
pub(super) fn no_window(config: &Config) -> Result<()> {
    config.only("use_sliding_window", &[json!(false)])
}

/// Gemma 3's windows, bases and scale.
pub(super) fn gemma3(config: &Config, out: &mut Assembly, sizes: &Sizes) -> Result<()> {
    config.only("attn_logit_softcapping", &[])?;
    if let Some(cap) = config.number("final_logit_softcapping")? {
        out.key("gemma3.final_logit_softcapping", Key::F32(cap as f32));
    }
    config.only("use_bidirectional_attention", &[json!(false)])?;
    // The graph knows it by the number of layers, as converters do not write it.
    let expected = if sizes.layers == 62 { sizes.width / sizes.heads.max(1) } else { sizes.head_dim };
    if let Some(scalar) = config.number("query_pre_attn_scalar")?.filter(|&n| n != expected as f64) {
        if scalar <= 0.0 {
            return Err(config.unexpected("query_pre_attn_scalar", &json!(scalar), "more than 0"));
        }
        out.key("gemma3.attention.scale", Key::F32((1.0 / scalar.sqrt()) as f32));
    }
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
