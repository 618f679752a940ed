//! Llama and its relatives: a norm before attention and before a gated feed-forward, rotary positions, grouped queries. Biases, tied
//! outputs, fused tensors, windows and the scaling of positions are what a file holds; the rest of what differs is a [`Family`].

use crate::error::Result;
use crate::models::layers::{Attention, HeadNorm};
use crate::models::page::Page;
use crate::ops::{Activation, Pairing};

/// What differs between the relatives and no file says.
pub struct Family {
    /// Which numbers of a head turn together.
    pub pairing: Pairing,
    /// Where queries and keys are normalised.
    pub head_norm: HeadNorm,
    /// What the norm before the feed-forward is called.
    pub ffn_norm: &'static str,
    /// Layers that do not rotate.
    pub unrotated: fn(usize) -> bool,
}

/// Llama, Mistral, TinyLlama, SmolLM2; ERNIE 4.5.
pub const LLAMA: Family = Family {
    pairing: Pairing::Neighbours,
    head_norm: HeadNorm::None,
    ffn_norm: "ffn_norm",
    unrotated: |_| false,
};
/// Qwen 2 and 2.5, whose queries, keys and values have biases.
pub const QWEN2: Family = Family { pairing: Pairing::Halves, ..LLAMA };
/// Qwen 3.
pub const QWEN3: Family = Family { head_norm: HeadNorm::Before, ..QWEN2 };
/// Hunyuan.
pub const HUNYUAN: Family = Family { head_norm: HeadNorm::After, ..QWEN2 };
/// Seed OSS.
pub const SEED_OSS: Family = Family { ffn_norm: "post_attention_norm", ..QWEN2 };
/// SmolLM3, of whose layers every fourth does not rotate.
pub const SMOLLM3: Family = Family { unrotated: |layer| layer % 4 == 3, ..LLAMA };

/// The forward pass.
pub fn forward(p: &mut Page<'_>, family: &Family) -> Result<()> {
    let norm = p.rms()?;
    let ffn = p.w.keys.count("feed_forward_length")?;
    let window = p.w.keys.count_or_zero("attention.sliding_window")?;
    let attention = Attention::rotary(p, family.pairing)?.window(window);
    let attention = Attention { head_norm: family.head_norm, ..attention };

    let mut x = p.embed()?;
    for layer in 0..p.layers {
        let rope = attention.rope.filter(|_| !(family.unrotated)(layer));
        let mut b = p.block(layer, norm);
        let h = b.norm("attn_norm", x)?;
        let a = b.attention(h, &Attention { rope, ..attention })?;
        let x1 = b.add("attn_residual", x, a);
        let h = b.norm(family.ffn_norm, x1)?;
        let f = b.gated(h, ffn, Activation::Silu)?;
        x = b.add("ffn_residual", x1, f);
    }
    p.output(x, norm).map(drop)
}
