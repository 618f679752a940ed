//! Gemma 4: Gemma 3 with heads of two lengths, values that are normalised, too, scores without a factor, and a number for each layer that all of it
//! is multiplied by. Of the dense models some have inputs for each layer besides, and last layers that read keys and values of earlier ones;
//! others have experts beside the feed-forward.

use crate::error::{Error, Result};
use crate::graph::Node;
use crate::models::experts::Experts;
use crate::models::layers::{Attention, HeadNorm};
use crate::models::llama::LLAMA;
use crate::models::page::{Block, Norm, Page};
use crate::models::rotary;
use crate::ops::{Activation, AttentionShape, Gate, Index, Pairing, Part, RopeShape, Route};

/// The kinds of layers: heads that see a window, and heads that see all.
struct Kinds {
    windowed: Vec<bool>,
    window: Attention,
    global: Attention,
    kv_heads: Vec<usize>,
    /// The first layer that reads keys and values of earlier ones.
    sharing: usize,
}

/// The forward pass.
pub fn forward(p: &mut Page<'_>) -> Result<()> {
    let norm = p.rms()?;
    let keys = &p.w.keys;
    let blocks = keys.blocks()?;
    let ffn = keys.counts_of_some("feed_forward_length", blocks)?;
    let cap = keys.positive_or_none("final_logit_softcapping")?;
    let route = Route { factor: 1.0 / (p.width as f32).sqrt(), ..LLAMA.route };
    let experts = Experts::read(p, ffn[0], &route)?;
    let kinds = kinds(p, blocks)?;

    let x = p.embed()?;
    let factor = (p.width as f32).sqrt();
    let mut x = p.top(norm).scale("embedding", x, factor);
    let of_layers = per_layer_inputs(p, x, blocks, norm)?;
    // Of the last layer of each kind that has keys and values of its own.
    let mut caches: [Option<[Node; 2]>; 2] = [None; 2];
    for (layer, &ffn) in ffn.iter().enumerate().take(p.layers) {
        let (attention, of_kind) = kinds.of(layer, &mut caches);
        let shared = layer >= kinds.sharing;
        if shared && of_kind.is_none() {
            let name = p.w.keys.name("attention.shared_kv_layers");
            let what = format!("layer {layer} has no earlier one of its kind with keys and values");
            return Err(Error::Model(format!("key {name}: {what}")));
        }
        let mut b = p.block(layer, norm);
        let h = b.norm("attn_norm", x)?;
        let a = attend(&mut b, h, &attention, of_kind, shared)?;
        let a = b.norm("post_attention_norm", a)?;
        let x1 = b.add("attn_residual", x, a);
        let h = b.norm("ffn_norm", x1)?;
        let mut f = b.gated(h, ffn, Activation::Gelu)?;
        if let Some(experts) = experts.as_ref().filter(|_| b.holds("ffn_gate_inp.weight")) {
            f = with_experts(&mut b, x1, f, experts)?;
        }
        let f = b.norm("post_ffw_norm", f)?;
        x = b.add("ffn_residual", x1, f);
        if let Some((inputs, width)) = of_layers {
            x = with_input(&mut b, x, inputs, width, layer)?;
        }
        if b.holds("layer_output_scale.weight") {
            let factor = b.vector("layer_output_scale.weight", 1)?;
            let y = b.g.scale_by(x, factor);
            x = b.name(y, "layer_output_scale");
        }
    }
    let logits = p.output(x, norm)?;
    if let Some(cap) = cap {
        p.g.softcap(logits, cap);
    }
    Ok(())
}

fn kinds(p: &mut Page<'_>, blocks: usize) -> Result<Kinds> {
    let keys = &p.w.keys;
    let heads = keys.count("attention.head_count")?;
    let kv_heads = keys.counts_of_some("attention.head_count_kv", blocks)?;
    let window = keys.count("attention.sliding_window")?;
    let windowed = keys.flags("attention.sliding_window_pattern", blocks)?.ok_or_else(|| {
        Error::Model(format!("key {} is missing", keys.name("attention.sliding_window_pattern")))
    })?;
    let shared = keys.count_or_zero("attention.shared_kv_layers")?;
    if shared > blocks {
        let name = keys.name("attention.shared_kv_layers");
        return Err(Error::Model(format!("key {name} is {shared}, and there are {blocks} layers")));
    }
    if let Some(&odd) = kv_heads.iter().find(|&&n| !heads.is_multiple_of(n)) {
        let name = keys.name("attention.head_count");
        return Err(Error::Model(format!("{name} is {heads}, not a multiple of head_count_kv {odd}")));
    }
    let length = |key, value_key| -> Result<usize> {
        let (length, values) = (keys.count(key)?, keys.count_or_none(value_key)?);
        match values.is_none_or(|values| values == length) && length.is_multiple_of(4) {
            true => Ok(length),
            false => {
                let what = format!("heads of {length} keys and {} values", values.unwrap_or(length));
                Err(Error::Model(format!("{what}, expected the same multiple of 4")))
            }
        }
    };
    let global = length("attention.key_length", "attention.value_length")?;
    let near = length("attention.key_length_swa", "attention.value_length_swa")?;
    let base = keys.positive_or_none("rope.freq_base_swa")?.unwrap_or(1e4);
    let rotary = keys.count_or_none("rope.dimension_count_swa")?.unwrap_or(near);
    if rotary > near || !rotary.is_multiple_of(2) {
        let name = keys.name("rope.dimension_count_swa");
        return Err(Error::Model(format!("{name} is {rotary} for heads of {near}")));
    }
    let attention = |head_dim, rope, factors| {
        let shape = AttentionShape { scale: 1.0, ..AttentionShape::new(heads, heads, head_dim) };
        Attention { shape, rope: Some(rope), factors, head_norm: HeadNorm::Before, sinks: false }
    };
    let rope = rotary::read(p, global, Pairing::Halves)?;
    let factors = p.w.vector_or_none(p.g, "rope_freqs.weight", rope.rotary / 2)?;
    let near_rope = RopeShape { rotary, ..RopeShape::new(near, base, Pairing::Halves) };
    Ok(Kinds {
        windowed,
        window: attention(near, near_rope, None).window(window),
        global: attention(global, rope, factors),
        kv_heads,
        sharing: blocks - shared,
    })
}

impl Kinds {
    /// How a layer attends, and the place for the caches of its kind.
    fn of<'a>(
        &self,
        layer: usize,
        caches: &'a mut [Option<[Node; 2]>; 2],
    ) -> (Attention, &'a mut Option<[Node; 2]>) {
        let windowed = self.windowed[layer];
        let attention = if windowed { self.window } else { self.global };
        let shape = AttentionShape { kv_heads: self.kv_heads[layer], ..attention.shape };
        (Attention { shape, ..attention }, &mut caches[windowed as usize])
    }
}

/// Attention with keys and values of its own, which it leaves in `caches`, or `shared` ones that are there.
fn attend(
    b: &mut Block<'_>,
    h: Node,
    a: &Attention,
    caches: &mut Option<[Node; 2]>,
    shared: bool,
) -> Result<Node> {
    let shape = a.shape;
    let kv = shape.kv_heads * shape.head_dim;
    let q = b.linear("attn_q", h, shape.heads * shape.head_dim)?;
    let caches = match caches {
        Some(caches) if shared => *caches,
        _ => {
            let k = b.linear("attn_k", h, kv)?;
            let v = if b.holds("attn_v.weight") { b.linear("attn_v", h, kv)? } else { k };
            let v = b.unit_norm("attn_v_norm", v, shape.kv_heads);
            let k = b.placed("k", k, shape.kv_heads, a)?;
            *caches.insert(b.g.store(k, v, shape))
        }
    };
    let q = b.placed("q", q, shape.heads, a)?;
    let y = b.g.attend(q, caches, None, shape);
    b.linear("attn_output", y, b.g.shape(h).cols)
}

/// The feed-forward's result and that of experts, each normalised. The router has a norm of its own.
fn with_experts(b: &mut Block<'_>, x: Node, dense: Node, experts: &Experts) -> Result<Node> {
    let dense = b.norm("post_ffw_norm_1", dense)?;
    let r = b.norm_with("ffn_gate_inp_norm", "ffn_gate_inp.scale", x)?;
    let route = b.route(r, experts)?;
    let h = b.norm("pre_ffw_norm_2", x)?;
    let y = b.routed(h, route, experts, Gate::of(Activation::Gelu))?;
    let y = b.norm("post_ffw_norm_2", y)?;
    Ok(b.add("all_experts", dense, y))
}

/// What each layer is given besides, one behind the other, and how wide that is: from a table of its own and from the embedding.
fn per_layer_inputs(p: &mut Page<'_>, x: Node, blocks: usize, norm: Norm) -> Result<Option<(Node, usize)>> {
    let width = p.w.keys.count_or_zero("embedding_length_per_layer_input")?;
    if width == 0 {
        return Ok(None);
    }
    let table = p.w.matrix(p.g, "per_layer_token_embd.weight", p.vocab, blocks * width)?;
    let factor = 1.0 / (p.width as f32).sqrt();
    let mut top = p.top(norm);
    let e = top.g.embed(table, Index::Token);
    let e = top.name(e, "per_layer_token_embd");
    let e = top.scale("per_layer_embedding", e, (width as f32).sqrt());
    let q = top.linear("per_layer_model_proj", x, blocks * width)?;
    let q = top.scale("per_layer_projection", q, factor);
    let q = top.group_norm("per_layer_proj_norm", q, blocks)?;
    let y = top.add("per_layer_sum", q, e);
    Ok(Some((top.scale("per_layer_inputs", y, std::f32::consts::FRAC_1_SQRT_2), width)))
}

/// The residual with what the layer makes of its own input.
fn with_input(b: &mut Block<'_>, x: Node, inputs: Node, width: usize, layer: usize) -> Result<Node> {
    let input = b.g.part(inputs, Part { groups: 1, first: layer * width, len: width });
    let input = b.name(input, "input");
    let gate = b.linear("inp_gate", x, width)?;
    let y = b.g.gate(Activation::Gelu, gate, input);
    let y = b.name(y, "gated_input");
    let y = b.linear("proj", y, b.g.shape(x).cols)?;
    let y = b.norm("post_norm", y)?;
    Ok(b.add("input_residual", x, y))
}
