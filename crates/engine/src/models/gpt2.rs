//! GPT-2: LayerNorm, learned positions, queries, keys and values in one tensor, GELU, output tied to the embedding; biases everywhere.

use crate::error::Result;
use crate::models::layers::Attention;
use crate::models::page::Page;
use crate::ops::Activation;

/// The forward pass.
pub fn forward(p: &mut Page<'_>) -> Result<()> {
    p.biased = true;
    let norm = p.layer_norm()?;
    let ffn = p.w.keys.count("feed_forward_length")?;
    let attention = Attention::read(p)?;

    let tokens = p.embed()?;
    let positions = p.embed_positions()?;
    let mut x = p.g.add(tokens, positions);
    for layer in 0..p.layers {
        let mut b = p.block(layer, norm);
        let h = b.norm("attn_norm", x)?;
        let a = b.attention(h, &attention)?;
        let x1 = b.add("attn_residual", x, a);
        let h = b.norm("ffn_norm", x1)?;
        let f = b.ungated(h, ffn, Activation::Gelu)?;
        x = b.add("ffn_residual", x1, f);
    }
    p.output(x, norm).map(drop)
}
