//! Phi 3 and 4: Llama's layers with queries, keys and values in one tensor, and gate and up in another; for long contexts with factors of
//! the frequencies for short and for long sequences.

use crate::error::Result;
use crate::models::layers::Attention;
use crate::models::page::Page;
use crate::ops::{Activation, Pairing};

/// The forward pass.
pub fn forward(p: &mut Page<'_>) -> Result<()> {
    let norm = p.rms()?;
    let keys = &p.w.keys;
    let ffn = keys.count("feed_forward_length")?;
    let window = keys.count_or_zero("attention.sliding_window")?;
    let mut attention = Attention::rotary(p, Pairing::Halves)?;
    if let Some(rope) = attention.rope
        && p.w.holds("rope_factors_short.weight")
    {
        let original = p.w.keys.count("rope.scaling.original_context_length")?;
        p.original_context = Some(original);
        let factors = ["rope_factors_short.weight", "rope_factors_long.weight"]
            .map(|name| p.w.vector(p.g, name, rope.rotary / 2));
        let [short, long] = factors;
        let (short, long) = (short?, long?);
        attention.factors = Some(if p.context > original { long } else { short });
    }

    let of_layers = attention.of_layers(p, window, 0)?;
    let mut x = p.embed()?;
    for layer in 0..p.layers {
        let mut b = p.block(layer, norm);
        let h = b.norm("attn_norm", x)?;
        let a = b.attention(h, &of_layers(layer))?;
        let x1 = b.add("attn_residual", x, a);
        let h = b.norm("ffn_norm", x1)?;
        let f = b.gated_in_one(h, ffn, Activation::Silu)?;
        x = b.add("ffn_residual", x1, f);
    }
    p.output(x, norm).map(drop)
}
