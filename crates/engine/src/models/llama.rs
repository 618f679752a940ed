//! Llama and its relatives: a norm before attention and before a gated feed-forward or experts, rotary positions, grouped queries.
//! Biases, tied outputs, fused tensors, experts, windows and the scaling of positions are what a file holds; the rest of what differs is a
//! [`Family`].

use crate::error::Result;
use crate::models::experts::Experts;
use crate::models::layers::{Attention, HeadNorm};
use crate::models::page::Page;
use crate::ops::{Activation, AttentionShape, Clamp, Gate, Pairing, Route, Scoring, Temperature};

/// What differs between the relatives and no file says.
#[derive(Clone, Copy)]
pub struct Family {
    /// Which numbers of a head turn together.
    pub pairing: Pairing,
    /// Where queries and keys are normalised, if the file has weights for that.
    pub head_norm: HeadNorm,
    /// What the norm before the feed-forward is called.
    pub ffn_norm: &'static str,
    /// Layers that do not rotate.
    pub unrotated: fn(usize) -> bool,
    /// Where there is a window, every so many layers one sees all positions; 0: none does.
    pub period: usize,
    /// Whether each head has a sink.
    pub sinks: bool,
    /// The middle of feed-forwards.
    pub gate: Gate,
    /// How experts are chosen, where there are any.
    pub route: Route,
}

/// Llama, Mistral and Mixtral, TinyLlama, SmolLM2; ERNIE 4.5, Granite, Ministral 3.
pub const LLAMA: Family = Family {
    pairing: Pairing::Neighbours,
    head_norm: HeadNorm::None,
    ffn_norm: "ffn_norm",
    unrotated: |_| false,
    period: 0,
    sinks: false,
    gate: Gate::of(Activation::Silu),
    route: Route {
        used: 0,
        scoring: Scoring::Softmax,
        factor: 1.0,
        normalise: Some(0.0),
        scale: 1.0,
        factors: false,
        groups: 1,
        groups_used: 1,
        group_best: 2,
    },
};
/// Qwen 2 and 2.5, whose queries, keys and values have biases.
pub const QWEN2: Family = Family { pairing: Pairing::Halves, ..LLAMA };
/// Qwen 1.5 and 2 with experts.
pub const QWEN2_MOE: Family = Family { route: Route { normalise: None, ..LLAMA.route }, ..QWEN2 };
/// Qwen 3, with experts or without.
pub const QWEN3: Family = Family { head_norm: HeadNorm::Before, ..QWEN2 };
/// Hunyuan.
pub const HUNYUAN: Family = Family { head_norm: HeadNorm::After, ..QWEN2 };
/// Seed-OSS.
pub const SEED_OSS: Family = Family { ffn_norm: "post_attention_norm", ..QWEN2 };
/// GLM 4.5.
pub const GLM4_MOE: Family = Family {
    head_norm: HeadNorm::Before,
    route: Route { scoring: Scoring::Sigmoid, ..LLAMA.route },
    ..SEED_OSS
};
/// gpt-oss, of whose layers every second sees all positions; what its experts' gates do is known from the model's own code.
pub const GPT_OSS: Family = Family {
    period: 2,
    sinks: true,
    gate: Gate { clamp: Some(Clamp { limit: 7.0, shift: 1.0 }), ..Gate::of(Activation::QuickGelu) },
    ..SEED_OSS
};
/// SmolLM3, of whose layers every fourth does not rotate.
pub const SMOLLM3: Family = Family { unrotated: |layer| layer % 4 == 3, ..LLAMA };

/// Four numbers that embeddings, scores, residuals and logits are scaled by.
pub struct Scales {
    /// Of embeddings.
    pub embedding: f32,
    /// Of scores, where it is another than usual.
    pub attention: Option<f32>,
    /// Of what is added to the residual.
    pub residual: f32,
    /// Of logits.
    pub logits: f32,
}

impl Scales {
    /// Granite's, as its files give them; logits are divided by theirs.
    pub fn read(p: &Page<'_>) -> Result<Scales> {
        let keys = &p.w.keys;
        Ok(Scales {
            embedding: keys.positive_or_none("embedding_scale")?.unwrap_or(1.0),
            attention: keys.positive_or_none("attention.scale")?,
            residual: keys.positive_or_none("residual_scale")?.unwrap_or(1.0),
            logits: 1.0 / keys.positive_or_none("logit_scale")?.unwrap_or(1.0),
        })
    }
}

/// The forward pass.
pub fn forward(p: &mut Page<'_>, family: &Family) -> Result<()> {
    write(p, family, Scales { embedding: 1.0, attention: None, residual: 1.0, logits: 1.0 }, None)
}

/// Granite's, with the scales that its files give.
pub fn granite(p: &mut Page<'_>) -> Result<()> {
    let scales = Scales::read(p)?;
    write(p, &LLAMA, scales, None)
}

/// Ministral 3's, whose queries grow with their position.
pub fn mistral3(p: &mut Page<'_>) -> Result<()> {
    let keys = &p.w.keys;
    let temperature = match keys.number("attention.temperature_scale")? {
        None | Some(0.0) => None,
        Some(scale) => {
            let original = keys.count("rope.scaling.original_context_length")? as u32;
            Some(Temperature { scale, length: original, ahead: 0 })
        }
    };
    write(p, &LLAMA, Scales { embedding: 1.0, attention: None, residual: 1.0, logits: 1.0 }, temperature)
}

fn write(p: &mut Page<'_>, family: &Family, scales: Scales, temperature: Option<Temperature>) -> Result<()> {
    let norm = p.rms()?;
    let ffn = p.w.keys.count("feed_forward_length")?;
    let experts = Experts::read(p, ffn, &family.route)?;
    let window = p.w.keys.count_or_zero("attention.sliding_window")?;
    let attention = Attention { sinks: family.sinks, ..Attention::rotary(p, family.pairing)? };
    let scale = scales.attention.unwrap_or(attention.shape.scale);
    let shape = AttentionShape { scale, temperature, ..attention.shape };
    let of_layers = Attention { shape, ..attention }.of_layers(p, window, family.period)?;

    let x = p.embed()?;
    let mut x = p.top(norm).scale("embedding", x, scales.embedding);
    for layer in 0..p.layers {
        let attention = of_layers(layer);
        let mut b = p.block(layer, norm);
        let rope = attention.rope.filter(|_| !(family.unrotated)(layer));
        let head_norm = if b.holds("attn_q_norm.weight") { family.head_norm } else { HeadNorm::None };
        let h = b.norm("attn_norm", x)?;
        let a = b.attention(h, &Attention { rope, head_norm, ..attention })?;
        let a = b.scale("attn_scaled", a, scales.residual);
        let x1 = b.add("attn_residual", x, a);
        let h = b.norm(family.ffn_norm, x1)?;
        x = match &experts {
            Some(experts) if experts.in_layer(layer) => {
                b.add_experts(x1, h, experts, family.gate, scales.residual)?
            }
            _ => {
                let f = b.gated(h, ffn, family.gate)?;
                let f = b.scale("ffn_scaled", f, scales.residual);
                b.add("ffn_residual", x1, f)
            }
        };
    }
    let logits = p.output(x, norm)?;
    p.top(norm).scale("logits", logits, scales.logits);
    Ok(())
}
