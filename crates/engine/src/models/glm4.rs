//! GLM 4: norms before and behind both attention and feed-forward, gate and up in one tensor.

use crate::error::Result;
use crate::models::layers::Attention;
use crate::models::page::Page;
use crate::ops::{Activation, Pairing};

/// The forward pass.
pub fn forward(p: &mut Page<'_>) -> Result<()> {
    let norm = p.rms()?;
    let ffn = p.w.keys.count("feed_forward_length")?;
    let attention = Attention::rotary(p, Pairing::Neighbours)?;
    let mut x = p.embed()?;
    for layer in 0..p.layers {
        let mut b = p.block(layer, norm);
        let h = b.norm("attn_norm", x)?;
        let a = b.attention(h, &attention)?;
        let a = b.norm("post_attention_norm", a)?;
        let x1 = b.add("attn_residual", x, a);
        let h = b.norm("ffn_norm", x1)?;
        let f = b.gated_in_one(h, ffn, Activation::Silu)?;
        let f = b.norm("post_ffw_norm", f)?;
        x = b.add("ffn_residual", x1, f);
    }
    p.output(x, norm).map(drop)
}
