//! Llama 4: three of four layers turn, normalise their heads and see the chunk of positions that they are in; every fourth sees all, does not turn, and
//! has scores that grow with the position. Experts, of which a row goes to one and to a shared one besides, weight what they are given.

use crate::error::Result;
use crate::models::experts::Experts;
use crate::models::layers::{Attention, HeadNorm};
use crate::models::llama::LLAMA;
use crate::models::page::Page;
use crate::ops::{Activation, AttentionShape, Gate, Pairing, Route, Scoring, Temperature};

/// Positions of a chunk, and of a step of the growth of scores, as published.
const CHUNK: u32 = 8192;
const TEMPERATURE: Temperature = Temperature { scale: 0.1, length: CHUNK, ahead: 1 };
/// Experts of the model whose heads are not normalised, Maverick.
const UNNORMALISED: usize = 128;

/// The forward pass.
pub fn forward(p: &mut Page<'_>) -> Result<()> {
    let norm = p.rms()?;
    let keys = &p.w.keys;
    let ffn = keys.count("feed_forward_length")?;
    let every = keys.count("interleave_moe_layer_step")?;
    let chunk = keys.count_or_none("attention.chunk_size")?.map_or(CHUNK, |chunk| chunk as u32);
    let route = Route { scoring: Scoring::Sigmoid, normalise: None, ..LLAMA.route };
    let experts = Experts::read(p, ffn, &route)?.map(|experts| Experts {
        shared: experts.ffn,
        every,
        weigh_input: true,
        ..experts
    });
    let normalised = experts.as_ref().is_none_or(|experts| experts.count != UNNORMALISED);
    let all = Attention::rotary(p, Pairing::Neighbours)?;
    let near = Attention {
        shape: AttentionShape { chunk, ..all.shape },
        head_norm: if normalised { HeadNorm::UnitAfter } else { HeadNorm::None },
        ..all
    };
    let far = Attention {
        shape: AttentionShape { temperature: Some(TEMPERATURE), ..all.shape },
        rope: None,
        ..all
    };
    let chunked = p.w.keys.windowed(p.layers, 4)?;
    let gate = Gate::of(Activation::Silu);

    let mut x = p.embed()?;
    for layer in 0..p.layers {
        let mut b = p.block(layer, norm);
        let h = b.norm("attn_norm", x)?;
        let a = b.attention(h, if chunked.holds(layer) { &near } else { &far })?;
        let x1 = b.add("attn_residual", x, a);
        let h = b.norm("ffn_norm", x1)?;
        x = match &experts {
            Some(experts) if experts.in_layer(layer) => b.add_experts(x1, h, experts, gate, 1.0)?,
            _ => {
                let f = b.gated(h, ffn, gate)?;
                b.add("ffn_residual", x1, f)
            }
        };
    }
    p.output(x, norm).map(drop)
}
