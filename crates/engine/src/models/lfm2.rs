//! LFM 2: gated short convolutions, and attention where a layer has keys and values; a gated feed-forward or experts behind either.

use crate::error::{Error, Result};
use crate::models::experts::Experts;
use crate::models::layers::{Attention, HeadNorm};
use crate::models::llama::LLAMA;
use crate::models::page::Page;
use crate::models::rotary;
use crate::ops::{Activation, Pairing, Route, Scoring, ShortConv};

/// How experts are chosen.
const ROUTE: Route = Route { scoring: Scoring::Sigmoid, normalise: Some(1e-6), ..LLAMA.route };

/// The forward pass.
pub fn forward(p: &mut Page<'_>) -> Result<()> {
    let norm = p.rms()?;
    let keys = &p.w.keys;
    let ffn = keys.count("feed_forward_length")?;
    let heads = keys.count("attention.head_count")?;
    let kv_heads = keys.counts("attention.head_count_kv", p.layers)?;
    let taps = keys.count("shortconv.l_cache")?;
    if taps < 2 {
        let name = keys.name("shortconv.l_cache");
        return Err(Error::Model(format!("key {name} is {taps}, expected at least 2")));
    }
    let experts = Experts::read(p, ffn, &ROUTE)?;
    let width = p.width;
    let conv = ShortConv { taps, act: None, gated: true };

    let mut x = p.embed()?;
    for (layer, &kv_heads) in kv_heads.iter().enumerate() {
        let attention = match kv_heads {
            0 => None,
            kv_heads => {
                let attention = Attention::of_heads(p, heads, kv_heads)?;
                let rope = Some(rotary::read(p, attention.shape.head_dim, Pairing::Halves)?);
                Some(Attention { rope, head_norm: HeadNorm::Before, ..attention })
            }
        };
        let mut b = p.block(layer, norm);
        let h = b.norm("attn_norm", x)?;
        let a = match attention {
            Some(attention) => b.attention(h, &attention)?,
            None => {
                let parts = b.linear("shortconv.in_proj", h, 3 * width)?;
                let y = b.short_conv("shortconv.conv", parts, conv.clone())?;
                b.linear("shortconv.out_proj", y, width)?
            }
        };
        let x1 = b.add("attn_residual", x, a);
        let h = b.norm("ffn_norm", x1)?;
        x = match &experts {
            Some(experts) if experts.in_layer(layer) => {
                b.add_experts(x1, h, experts, Activation::Silu, 1.0)?
            }
            _ => {
                let f = b.gated(h, ffn, Activation::Silu)?;
                b.add("ffn_residual", x1, f)
            }
        };
    }
    // The last norm is called after the embedding, which is not normalised.
    let mut top = p.top(norm);
    let x = top.g.output_rows(x);
    let h = top.norm("token_embd_norm", x)?;
    p.logits(h).map(drop)
}
