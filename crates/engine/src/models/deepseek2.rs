//! DeepSeek V2 and V3, and others with their latent attention: keys and values of all heads are made of one short vector for each position, and queries
//! are taken to its space. What a cache holds is that vector and one key part that turns, for all heads alike.

use crate::error::{Error, Result};
use crate::graph::Node;
use crate::models::experts::Experts;
use crate::models::llama::LLAMA;
use crate::models::page::{Block, Page};
use crate::models::rotary;
use crate::ops::{Activation, AttentionShape, Gate, Pairing, RopeShape, Route};

/// Attention to latent vectors.
struct Latent {
    /// Heads that all see one head of latent vectors.
    shape: AttentionShape,
    /// Width that queries are squeezed through, if they are.
    q_rank: Option<usize>,
    /// Length of a latent vector.
    rank: usize,
    /// Length of a head's values.
    values: usize,
    /// Rotary positions of a head's queries.
    q_rope: RopeShape,
    /// Rotary positions behind a latent vector.
    k_rope: RopeShape,
}

/// The forward pass.
pub fn forward(p: &mut Page<'_>) -> Result<()> {
    let norm = p.rms()?;
    let ffn = p.w.keys.count("feed_forward_length")?;
    let experts = Experts::read(p, ffn, &Route { normalise: None, ..LLAMA.route })?;
    let latent = Latent::read(p)?;
    let gate = Gate::of(Activation::Silu);

    let mut x = p.embed()?;
    for layer in 0..p.layers {
        let mut b = p.block(layer, norm);
        let h = b.norm("attn_norm", x)?;
        let a = attention(&mut b, h, &latent)?;
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

impl Latent {
    fn read(p: &Page<'_>) -> Result<Latent> {
        let keys = &p.w.keys;
        let heads = keys.count("attention.head_count")?;
        let q_rank = keys.count_or_none("attention.q_lora_rank")?;
        let rank = keys.count("attention.kv_lora_rank")?;
        let length = keys.count("attention.key_length_mla")?;
        let values = keys.count("attention.value_length_mla")?;
        let rope = rotary::read(p, length, Pairing::Neighbours)?;
        let turned = rope.rotary;
        // What files say of the short vectors follows from the rest.
        for (key, expected) in [
            ("attention.head_count_kv", 1),
            ("attention.key_length", rank + turned),
            ("attention.value_length", rank),
        ] {
            let found = keys.count_or_none(key)?.unwrap_or(expected);
            if found != expected {
                let name = keys.name(key);
                return Err(Error::Model(format!("key {name} is {found}, expected {expected}")));
            }
        }
        if turned >= length || ![length - turned, turned, rank].iter().all(|n| n.is_multiple_of(4)) {
            let what = format!("heads of {length} of which {turned} turn, latent vectors of {rank}");
            return Err(Error::Model(format!("{what}: expected parts that are multiples of 4")));
        }
        // Scaled positions lengthen scores, and not what turns.
        let multiplier = keys.number("rope.scaling.yarn_log_multiplier")?.unwrap_or(0.0);
        let growth = if rope.yarn.is_some() { 1.0 - multiplier * rope.scale.ln() } else { 1.0 };
        let magnitude = keys.positive_or_none("rope.scaling.attn_factor")?.unwrap_or(1.0);
        let rope = RopeShape { magnitude, ..rope };
        let scale = growth * growth / (length as f32).sqrt();
        Ok(Latent {
            shape: AttentionShape { scale, ..AttentionShape::new(heads, 1, rank + turned) },
            q_rank,
            rank,
            values,
            q_rope: RopeShape { head_dim: length, first: length - turned, ..rope },
            k_rope: RopeShape { head_dim: rank + turned, first: rank, ..rope },
        })
    }
}

/// Queries as latent vectors and what turns of them; one such vector as key and as value; and values of heads from what attention found.
fn attention(b: &mut Block<'_>, h: Node, a: &Latent) -> Result<Node> {
    let (heads, length, turned) = (a.shape.heads, a.q_rope.head_dim, a.q_rope.rotary);
    let q = match a.q_rank {
        Some(rank) => {
            let q = b.linear("attn_q_a", h, rank)?;
            let q = b.norm("attn_q_a_norm", q)?;
            b.linear("attn_q_b", q, heads * length)?
        }
        None => b.linear("attn_q", h, heads * length)?,
    };
    let q = b.g.rope(q, None, a.q_rope);
    let q = b.name(q, "rope_q");
    let q = b.group_linear("attn_k_b", q, [heads, a.rank, length - turned], true)?;
    let kv = b.linear("attn_kv_a_mqa", h, a.rank + turned)?;
    let kv = b.front_norm("attn_kv_a_norm", kv, a.rank)?;
    let kv = b.g.rope(kv, None, a.k_rope);
    let kv = b.name(kv, "rope_k");
    // What turned is among the values, too: the projection behind does not read it.
    let y = b.g.attention(q, kv, kv, a.shape);
    let y = b.group_linear("attn_v_b", y, [heads, a.values, a.rank], false)?;
    b.linear("attn_output", y, b.g.shape(h).cols)
}
