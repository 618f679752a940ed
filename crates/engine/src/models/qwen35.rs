//! Qwen 3.5: gated delta nets, and every few layers attention whose result is gated; a gated feed-forward or experts behind either.

use crate::error::{Error, Result};
use crate::graph::Node;
use crate::models::experts::Experts;
use crate::models::layers::{Attention, HeadNorm};
use crate::models::llama::LLAMA;
use crate::models::page::{Block, Norm, Page};
use crate::ops::{Activation, DeltaRule, GatedNorm, Pairing, Part};

/// Added to the squares of queries and keys.
const EPS: f32 = 1e-6;

/// A gated delta net.
struct DeltaNet {
    rule: DeltaRule,
    taps: usize,
    eps: f32,
}

impl DeltaNet {
    fn read(p: &Page<'_>) -> Result<DeltaNet> {
        let keys = &p.w.keys;
        let [k_heads, v_heads, width, inner, taps] = [
            keys.count("ssm.group_count")?,
            keys.count("ssm.time_step_rank")?,
            keys.count("ssm.state_size")?,
            keys.count("ssm.inner_size")?,
            keys.count("ssm.conv_kernel")?,
        ];
        let fits = v_heads.is_multiple_of(k_heads) && width.is_multiple_of(4) && inner == v_heads * width;
        if !fits || taps < 2 {
            return Err(Error::Model(format!(
                "keys {}*: {v_heads} heads of values for {k_heads} of keys, {width} wide, {inner} in all, {taps} taps; expected a \
                 multiple of the heads of keys, of a multiple of 4, their product, and at least 2",
                keys.name("ssm.")
            )));
        }
        let (Norm::Rms { eps } | Norm::Layer { eps }) = p.rms()?;
        Ok(DeltaNet { rule: DeltaRule { k_heads, v_heads, width, eps: EPS }, taps, eps })
    }
}

/// The forward pass.
pub fn forward(p: &mut Page<'_>) -> Result<()> {
    let norm = p.rms()?;
    let keys = &p.w.keys;
    let ffn = keys.count_or_none("feed_forward_length")?;
    let recurrent = match keys.flags("attention.recurrent_layers", p.layers)? {
        Some(flags) => flags,
        None => {
            let interval = keys.count("full_attention_interval")?;
            (0..p.layers).map(|layer| !(layer + 1).is_multiple_of(interval)).collect()
        }
    };
    let experts = Experts::read(p, ffn.unwrap_or(0), &LLAMA.route)?;
    let attention = Attention { head_norm: HeadNorm::Before, ..Attention::rotary(p, Pairing::Halves)? };
    let net = DeltaNet::read(p)?;

    let mut x = p.embed()?;
    for (layer, &recurrent) in recurrent.iter().enumerate().take(p.layers) {
        let mut b = p.block(layer, norm);
        let h = b.norm("attn_norm", x)?;
        let a = if recurrent { b.delta_net(h, &net)? } else { b.gated_attention(h, &attention)? };
        let x1 = b.add("attn_residual", x, a);
        let h = b.norm("post_attention_norm", x1)?;
        x = match (&experts, ffn) {
            (Some(experts), _) => b.add_experts(x1, h, experts, Activation::Silu, 1.0)?,
            (None, Some(ffn)) => {
                let f = b.gated(h, ffn, Activation::Silu)?;
                b.add("ffn_residual", x1, f)
            }
            (None, None) => {
                return Err(Error::Model(format!("key {} is missing", p.w.keys.name("feed_forward_length"))));
            }
        };
    }
    p.output(x, norm).map(drop)
}

impl Block<'_> {
    /// Attention whose result is multiplied by the sigmoid of a gate; `attn_q` holds of each head its query and then its gate.
    fn gated_attention(&mut self, h: Node, a: &Attention) -> Result<Node> {
        let shape = &a.shape;
        let (heads, len) = (shape.heads, shape.head_dim);
        let both = self.linear("attn_q", h, 2 * heads * len)?;
        let q = self.g.part(both, Part { groups: heads, first: 0, len });
        let q = self.name(q, "query");
        let gate = self.g.part(both, Part { groups: heads, first: len, len });
        let gate = self.name(gate, "attn_gate");
        let k = self.linear("attn_k", h, shape.kv_heads * len)?;
        let v = self.linear("attn_v", h, shape.kv_heads * len)?;
        let q = self.placed("q", q, heads, a)?;
        let k = self.placed("k", k, shape.kv_heads, a)?;
        let y = self.g.attention(q, k, v, *shape);
        let y = self.g.gate(Activation::Sigmoid, gate, y);
        let y = self.name(y, "gated_attend");
        self.linear("attn_output", y, self.g.shape(h).cols)
    }

    /// A gated delta net: a convolution of queries, keys and values, the delta rule, and a gated norm of each head.
    fn delta_net(&mut self, h: Node, net: &DeltaNet) -> Result<Node> {
        let DeltaRule { k_heads, v_heads, width, .. } = net.rule;
        let inner = v_heads * width;
        let qkv = self.linear("attn_qkv", h, 2 * k_heads * width + inner)?;
        let z = self.linear("attn_gate", h, inner)?;
        let b = self.linear("ssm_beta", h, v_heads)?;
        let a = self.linear("ssm_alpha", h, v_heads)?;
        let qkv = self.ssm_conv(qkv, net.taps)?;
        let decay = self.vector("ssm_a", v_heads)?;
        let bias = self.vector("ssm_dt.bias", v_heads)?;
        let o = self.g.delta_rule(qkv, [a, b], [decay, bias], net.rule.clone());
        let y = self.ssm_norm(o, z, GatedNorm { eps: net.eps, groups: v_heads, gate_first: false })?;
        self.linear("ssm_out", y, self.g.shape(h).cols)
    }
}
