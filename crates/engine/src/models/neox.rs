//! GPT-NeoX and others with LayerNorm and rotary positions: feed-forwards with a gate or without, behind attention or beside it.

use crate::error::Result;
use crate::models::layers::Attention;
use crate::models::page::Page;
use crate::ops::{Activation, Pairing};

/// What differs between them and no file says.
pub struct Family {
    /// Which numbers of a head turn together.
    pub pairing: Pairing,
    /// The activation function of the feed-forward.
    pub act: Activation,
    /// Whether the feed-forward has a gate.
    pub gated: bool,
    /// Whether all norms and matrices of a block have biases.
    pub biased: bool,
    /// Whether the feed-forward is beside attention, where no key says so.
    pub parallel: bool,
    /// Whether all but every fourth layer have a window, and only they rotate; otherwise all have the file's, if there is one.
    pub windows: bool,
}

/// GPT-NeoX, Pythia.
pub const NEOX: Family = Family {
    pairing: Pairing::Halves,
    act: Activation::GeluErf,
    gated: false,
    biased: false,
    parallel: true,
    windows: false,
};
/// Phi 1, 1.5 and 2, whose attention and feed-forward read one norm.
pub const PHI2: Family = Family { act: Activation::Gelu, biased: true, ..NEOX };
/// StarCoder 2.
pub const STARCODER2: Family = Family { parallel: false, biased: false, ..PHI2 };
/// StableLM.
pub const STABLELM: Family = Family { act: Activation::Silu, gated: true, parallel: false, ..NEOX };
/// Nemotron and Minitron.
pub const NEMOTRON: Family = Family { act: Activation::SquaredRelu, gated: false, ..STABLELM };
/// Command R7B and Command A.
pub const COHERE2: Family =
    Family { pairing: Pairing::Neighbours, parallel: true, windows: true, ..STABLELM };

/// The forward pass.
pub fn forward(p: &mut Page<'_>, family: &Family) -> Result<()> {
    p.biased = family.biased;
    let norm = p.layer_norm()?;
    let keys = &p.w.keys;
    let ffn = keys.count("feed_forward_length")?;
    let parallel = keys.flag("use_parallel_residual", family.parallel)?;
    let logit_scale = keys.positive_or_none("logit_scale")?.unwrap_or(1.0);
    let (window, period) = match family.windows {
        true => (keys.count("attention.sliding_window")?, 4),
        false => (keys.count_or_zero("attention.sliding_window")?, 0),
    };
    let of_layers = Attention::rotary(p, family.pairing)?.of_layers(p, window, period)?;

    let mut x = p.embed()?;
    for layer in 0..p.layers {
        let attention = of_layers(layer);
        let rope = attention.rope.filter(|_| attention.shape.window > 0 || !family.windows);
        let attention = Attention { rope, ..attention };
        let mut b = p.block(layer, norm);
        let h = b.norm("attn_norm", x)?;
        let a = b.attention(h, &attention)?;
        let x1 = b.add("attn_residual", x, a);
        let h = match (parallel, b.holds("ffn_norm.weight")) {
            (true, false) => h,
            (true, true) => b.norm("ffn_norm", x)?,
            (false, _) => b.norm("ffn_norm", x1)?,
        };
        let f = match family.gated {
            true => b.gated(h, ffn, family.act)?,
            false => b.ungated(h, ffn, family.act)?,
        };
        x = b.add("ffn_residual", x1, f);
    }
    let logits = p.output(x, norm)?;
    p.top(norm).scale("logits", logits, logit_scale);
    Ok(())
}
