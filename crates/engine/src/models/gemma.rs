//! Gemma 1, 2 and 3: embeddings times √width, GELU gates, output tied to the embedding. From Gemma 2 on also a norm behind attention
//! and behind the feed-forward; Gemma 2 caps scores and logits softly, Gemma 3 normalises heads and has a base for each kind of layer.

use crate::error::Result;
use crate::graph::Node;
use crate::models::layers::{Attention, HeadNorm};
use crate::models::page::Page;
use crate::ops::{Activation, AttentionShape, Pairing, RopeShape};

/// Gemma 1.
pub fn gemma(p: &mut Page<'_>) -> Result<()> {
    let attention = Attention::rotary(p, Pairing::Halves)?;
    forward(p, &|_| attention, false).map(drop)
}

/// Gemma 2: every second layer sees all positions, the first does not. What files leave out is as published.
pub fn gemma2(p: &mut Page<'_>) -> Result<()> {
    let keys = &p.w.keys;
    let window = keys.count_or_none("attention.sliding_window")?.unwrap_or(4096);
    let softcap = keys.positive_or_none("attn_logit_softcapping")?.unwrap_or(50.0);
    let logit_cap = keys.positive_or_none("final_logit_softcapping")?.unwrap_or(30.0);
    let attention = Attention::rotary(p, Pairing::Halves)?;
    let scale = scale(p, &attention.shape, 46)?;
    let shape = AttentionShape { softcap, scale, ..attention.shape };
    let of_layers = Attention { shape, ..attention }.of_layers(p, window, 2)?;
    let logits = forward(p, &of_layers, true)?;
    p.g.softcap(logits, logit_cap);
    Ok(())
}

/// Gemma 3: every sixth layer sees all positions, with a base and a scaling of its own; without a window all do. What files leave out is as
/// published.
pub fn gemma3(p: &mut Page<'_>) -> Result<()> {
    let keys = &p.w.keys;
    let window = keys.count_or_zero("attention.sliding_window")?;
    let windowed = keys.windows_of(window, p.layers, 6)?;
    // 0 is how converters write that there is none.
    let logit_cap = keys.number("final_logit_softcapping")?.filter(|&cap| cap != 0.0);
    let base = keys.positive_or_none("rope.freq_base")?.unwrap_or(1e6);
    let window_base = keys.positive_or_none("rope.freq_base_swa")?.unwrap_or(1e4);
    let attention = Attention { head_norm: HeadNorm::Before, ..Attention::rotary(p, Pairing::Halves)? };
    let shape = AttentionShape { scale: scale(p, &attention.shape, 62)?, ..attention.shape };
    let of_layer = |layer: usize| {
        let rope = match windowed.holds(layer) {
            // With a window positions are not scaled.
            true => Some(RopeShape::new(shape.head_dim, window_base, Pairing::Halves)),
            false => attention.rope.map(|rope| RopeShape { base, ..rope }),
        };
        Attention { shape, rope, ..attention }.window(if windowed.holds(layer) { window } else { 0 })
    };
    let logits = forward(p, &of_layer, true)?;
    if let Some(cap) = logit_cap {
        p.g.softcap(logits, cap);
    }
    Ok(())
}

/// The factor of scores, which hardly a file says: the largest model of a generation, known by its number of layers, divides by the root of
/// width / heads, all others by that of a head's length.
fn scale(p: &Page<'_>, shape: &AttentionShape, layers_of_largest: usize) -> Result<f32> {
    if let Some(scale) = p.w.keys.number("attention.scale")?.filter(|&scale| scale != 0.0) {
        return Ok(scale);
    }
    let largest = p.w.keys.blocks()? == layers_of_largest;
    Ok(if largest { 1.0 / ((p.width / shape.heads) as f32).sqrt() } else { shape.scale })
}

/// The forward pass up to the logits; `behind`: there are norms behind attention and feed-forward.
fn forward(p: &mut Page<'_>, attention: &dyn Fn(usize) -> Attention, behind: bool) -> Result<Node> {
    let norm = p.rms()?;
    let ffn = p.w.keys.count("feed_forward_length")?;
    let x = p.embed()?;
    let factor = (p.width as f32).sqrt();
    let mut x = p.top(norm).scale("embedding", x, factor);
    for layer in 0..p.layers {
        let mut b = p.block(layer, norm);
        let h = b.norm("attn_norm", x)?;
        let mut a = b.attention(h, &attention(layer))?;
        if behind {
            a = b.norm("post_attention_norm", a)?;
        }
        let x1 = b.add("attn_residual", x, a);
        let h = b.norm("ffn_norm", x1)?;
        let mut f = b.gated(h, ffn, Activation::Gelu)?;
        if behind {
            f = b.norm("post_ffw_norm", f)?;
        }
        x = b.add("ffn_residual", x1, f);
    }
    p.output(x, norm)
}
