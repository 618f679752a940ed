//! OLMo 2 and 3, EXAONE 4: norms behind attention and behind the feed-forward, none in front of them.

use crate::error::Result;
use crate::models::layers::{Attention, HeadNorm};
use crate::models::page::Page;
use crate::ops::{Activation, Pairing, RopeShape};

/// OLMo 2, whose queries and keys are normalised as a whole. OLMo 3 has windows in most layers; these turn as if positions were not scaled.
pub fn olmo2(p: &mut Page<'_>) -> Result<()> {
    let keys = &p.w.keys;
    let window = keys.count_or_zero("attention.sliding_window")?;
    let windowed = keys.windows_of(window, p.layers, 4)?;
    let base = keys.positive_or_none("rope.freq_base_swa")?;
    let attention = Attention { head_norm: HeadNorm::Whole, ..Attention::rotary(p, Pairing::Halves)? };
    let unscaled = attention.rope.map(|rope| RopeShape {
        rotary: rope.rotary,
        ..RopeShape::new(rope.head_dim, base.unwrap_or(rope.base), rope.pairing)
    });
    forward(p, &|layer| match windowed.holds(layer) {
        true => Attention { rope: unscaled, ..attention }.window(window),
        false => attention,
    })
}

/// EXAONE 4, whose heads are normalised. Where there is a window, every fourth layer sees all positions and does not rotate.
pub fn exaone4(p: &mut Page<'_>) -> Result<()> {
    let keys = &p.w.keys;
    let window = keys.count_or_zero("attention.sliding_window")?;
    let attention = Attention { head_norm: HeadNorm::Before, ..Attention::rotary(p, Pairing::Halves)? };
    let of_layers = attention.of_layers(p, window, 4)?;
    forward(p, &|layer| match of_layers(layer) {
        far if window > 0 && far.shape.window == 0 => Attention { rope: None, ..far },
        attention => attention,
    })
}

fn forward(p: &mut Page<'_>, attention: &dyn Fn(usize) -> Attention) -> Result<()> {
    let norm = p.rms()?;
    let ffn = p.w.keys.count("feed_forward_length")?;
    let mut x = p.embed()?;
    for layer in 0..p.layers {
        let mut b = p.block(layer, norm);
        let a = b.attention(x, &attention(layer))?;
        let a = b.norm("post_attention_norm", a)?;
        let x1 = b.add("attn_residual", x, a);
        let f = b.gated(x1, ffn, Activation::Silu)?;
        let f = b.norm("post_ffw_norm", f)?;
        x = b.add("ffn_residual", x1, f);
    }
    p.output(x, norm).map(drop)
}
