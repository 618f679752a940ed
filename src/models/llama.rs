//! Llama and its relatives (Mistral, TinyLlama, SmolLM2): RMSNorm, rotary positions, grouped-query attention, gated
//! feed-forward. Differences between them (biases, tied output, scaling of positions) are what their files hold.

use crate::error::{Error, Result};
use crate::graph::{Graph, Node};
use crate::models::Weights;
use crate::ops::{Activation, AttentionShape, Index, Pairing, RopeShape};

/// Hyper-parameters, below `llama.` in the file.
struct Config {
    width: usize,
    ffn: usize,
    eps: f32,
    rope: RopeShape,
    attention: AttentionShape,
}

impl Config {
    fn read(w: &Weights<'_>) -> Result<Config> {
        if w.has("expert_count")? {
            return Err(Error::Model(
                "llama.expert_count is above 0: mixtures of experts are not known here".into(),
            ));
        }
        let width = w.count("embedding_length")?;
        let heads = w.count("attention.head_count")?;
        let kv_heads = w.count_or_none("attention.head_count_kv")?.unwrap_or(heads);
        if !heads.is_multiple_of(kv_heads) {
            let what =
                format!("llama.attention.head_count is {heads}, not a multiple of head_count_kv {kv_heads}");
            return Err(Error::Model(what));
        }
        let head_dim = w.count_or_none("attention.key_length")?.unwrap_or(width / heads);
        let value_dim = w.count_or_none("attention.value_length")?.unwrap_or(head_dim);
        if value_dim != head_dim || head_dim == 0 || !head_dim.is_multiple_of(4) {
            let what =
                format!("heads of {head_dim} keys and {value_dim} values, expected the same multiple of 4");
            return Err(Error::Model(what));
        }
        let rotary = w.count_or_none("rope.dimension_count")?.unwrap_or(head_dim);
        if rotary > head_dim || !rotary.is_multiple_of(2) {
            return Err(Error::Model(format!(
                "llama.rope.dimension_count is {rotary} for heads of {head_dim}"
            )));
        }
        let base = w.number("rope.freq_base")?.unwrap_or(10000.0);
        if base <= 0.0 {
            return Err(Error::Model(format!("llama.rope.freq_base is {base}, expected more than 0")));
        }
        let scale = position_scale(w)?;
        Ok(Config {
            width,
            ffn: w.count("feed_forward_length")?,
            eps: w.positive("attention.layer_norm_rms_epsilon")?,
            rope: RopeShape { head_dim, rotary, base, scale, pairing: Pairing::Neighbours },
            attention: AttentionShape {
                heads,
                kv_heads,
                head_dim,
                scale: 1.0 / (head_dim as f32).sqrt(),
                window: 0,
            },
        })
    }
}

/// The factor of the positions under linear scaling; other kinds of scaling are refused by name.
fn position_scale(w: &Weights<'_>) -> Result<f32> {
    let kind = w.word("rope.scaling.type")?.unwrap_or("linear");
    let factor = match w.number("rope.scaling.factor")? {
        Some(factor) => factor,
        None => w.number("rope.scale_linear")?.unwrap_or(0.0),
    };
    match kind {
        "none" => Ok(1.0),
        "linear" if factor < 0.0 => Err(Error::Model(format!("llama.rope.scaling.factor is {factor}"))),
        "linear" => Ok(if factor == 0.0 { 1.0 } else { 1.0 / factor }),
        other => Err(Error::Model(format!("llama.rope.scaling.type is {other}, known are none and linear"))),
    }
}

pub fn forward(g: &mut Graph, w: &Weights<'_>, layers: usize) -> Result<()> {
    let c = Config::read(w)?;
    let vocab = w.vocab_size()?;
    let (q_width, kv_width) = (c.attention.heads * c.rope.head_dim, c.attention.kv_heads * c.rope.head_dim);
    let embedding = w.matrix(g, "token_embd.weight", vocab, c.width)?;
    let factors = w.vector_or_none(g, "rope_freqs.weight", c.rope.rotary / 2)?;

    let mut x = g.embed(embedding, Index::Token);
    for block in 0..layers {
        let at = format!("blk.{block}");
        g.scope(&at);
        let linear = |g: &mut Graph, x: Node, name: &str, rows: usize, cols: usize| -> Result<Node> {
            let weight = w.matrix(g, &format!("{at}.{name}.weight"), rows, cols)?;
            let bias = w.vector_or_none(g, &format!("{at}.{name}.bias"), rows)?;
            let y = g.linear(x, weight, bias);
            Ok(g.name(y, name))
        };
        let norm = |g: &mut Graph, x: Node, name: &str| -> Result<Node> {
            let weight = w.vector(g, &format!("{at}.{name}.weight"), c.width)?;
            let y = g.rms_norm(x, weight, c.eps);
            Ok(g.name(y, name))
        };

        let h = norm(g, x, "attn_norm")?;
        let q = linear(g, h, "attn_q", q_width, c.width)?;
        let k = linear(g, h, "attn_k", kv_width, c.width)?;
        let v = linear(g, h, "attn_v", kv_width, c.width)?;
        let q = g.rope(q, factors, c.rope);
        let q = g.name(q, "rope_q");
        let k = g.rope(k, factors, c.rope);
        let k = g.name(k, "rope_k");
        let a = g.attention(q, k, v, c.attention);
        let o = linear(g, a, "attn_output", c.width, q_width)?;
        let x1 = g.add(x, o);
        let x1 = g.name(x1, "attn_residual");

        let h = norm(g, x1, "ffn_norm")?;
        let gate = linear(g, h, "ffn_gate", c.ffn, c.width)?;
        let up = linear(g, h, "ffn_up", c.ffn, c.width)?;
        let f = g.gate(Activation::Silu, gate, up);
        let down = linear(g, f, "ffn_down", c.width, c.ffn)?;
        x = g.add(x1, down);
        g.name(x, "ffn_residual");
    }
    g.scope("");

    let x = g.output_rows(x);
    let weight = w.vector(g, "output_norm.weight", c.width)?;
    let h = g.rms_norm(x, weight, c.eps);
    let h = g.name(h, "output_norm");
    // A model whose output is tied to its embedding has no output tensor.
    let output =
        if w.holds("output.weight") { w.matrix(g, "output.weight", vocab, c.width)? } else { embedding };
    let logits = g.linear(h, output, None);
    g.name(logits, "output");
    Ok(())
}
