//! GPT-2: LayerNorm, learned positions, queries, keys and values in one tensor with a bias, GELU, output tied to the embedding.

use crate::error::{Error, Result};
use crate::graph::{Graph, Node};
use crate::models::Weights;
use crate::ops::{Activation, AttentionShape, Index};

pub fn forward(g: &mut Graph, w: &Weights<'_>, layers: usize) -> Result<()> {
    let width = w.count("embedding_length")?;
    let ffn = w.count("feed_forward_length")?;
    let heads = w.count("attention.head_count")?;
    let context = w.count("context_length")?;
    let eps = w.positive("attention.layer_norm_epsilon")?;
    let head_dim = width / heads;
    if head_dim * heads != width || !head_dim.is_multiple_of(4) {
        return Err(Error::Model(format!(
            "gpt2.embedding_length {width} is not {heads} heads of a multiple of 4"
        )));
    }
    let scale = 1.0 / (head_dim as f32).sqrt();
    let attention = AttentionShape { heads, kv_heads: heads, head_dim, scale, window: 0 };
    let vocab = w.vocab_size()?;
    let embedding = w.matrix(g, "token_embd.weight", vocab, width)?;
    let positions = w.matrix(g, "position_embd.weight", context, width)?;

    let tokens = g.embed(embedding, Index::Token);
    let tokens = g.name(tokens, "token_embd");
    let places = g.embed(positions, Index::Position);
    let places = g.name(places, "position_embd");
    let mut x = g.add(tokens, places);
    for block in 0..layers {
        let at = format!("blk.{block}");
        g.scope(&at);
        let linear = |g: &mut Graph, x: Node, name: &str, rows: usize, cols: usize| -> Result<Node> {
            let weight = w.matrix(g, &format!("{at}.{name}.weight"), rows, cols)?;
            let bias = w.vector(g, &format!("{at}.{name}.bias"), rows)?;
            let y = g.linear(x, weight, Some(bias));
            Ok(g.name(y, name))
        };
        // Queries, keys and values are the three thirds of one tensor.
        let third = |g: &mut Graph, x: Node, i: usize, name: &str| -> Result<Node> {
            let part = i * width..(i + 1) * width;
            let weight =
                w.matrix_part(g, &format!("{at}.attn_qkv.weight"), 3 * width, width, part.clone())?;
            let bias = w.vector_part(g, &format!("{at}.attn_qkv.bias"), 3 * width, part)?;
            let y = g.linear(x, weight, Some(bias));
            Ok(g.name(y, name))
        };

        let h = norm(g, w, x, &at, "attn_norm", width, eps)?;
        let q = third(g, h, 0, "attn_q")?;
        let k = third(g, h, 1, "attn_k")?;
        let v = third(g, h, 2, "attn_v")?;
        let a = g.attention(q, k, v, attention);
        let o = linear(g, a, "attn_output", width, width)?;
        let x1 = g.add(x, o);
        let x1 = g.name(x1, "attn_residual");

        let h = norm(g, w, x1, &at, "ffn_norm", width, eps)?;
        let up = linear(g, h, "ffn_up", ffn, width)?;
        let f = g.unary(Activation::Gelu, up);
        let f = g.name(f, "gelu");
        let down = linear(g, f, "ffn_down", width, ffn)?;
        x = g.add(x1, down);
        g.name(x, "ffn_residual");
    }
    g.scope("");

    let x = g.output_rows(x);
    let h = norm(g, w, x, "", "output_norm", width, eps)?;
    let output =
        if w.holds("output.weight") { w.matrix(g, "output.weight", vocab, width)? } else { embedding };
    let logits = g.linear(h, output, None);
    g.name(logits, "output");
    Ok(())
}

fn norm(
    g: &mut Graph,
    w: &Weights<'_>,
    x: Node,
    at: &str,
    name: &str,
    width: usize,
    eps: f32,
) -> Result<Node> {
    let stem = if at.is_empty() { name.to_string() } else { format!("{at}.{name}") };
    let weight = w.vector(g, &format!("{stem}.weight"), width)?;
    let bias = w.vector(g, &format!("{stem}.bias"), width)?;
    let y = g.layer_norm(x, weight, bias, eps);
    Ok(g.name(y, name))
}
