//! Granite 4: Mamba-2 layers, and attention where a layer has keys and values; experts and a shared feed-forward behind either, or an
//! ordinary one. Embeddings, scores, residuals and logits are scaled as in Granite 3.

use crate::error::{Error, Result};
use crate::graph::Node;
use crate::models::experts::Experts;
use crate::models::layers::Attention;
use crate::models::llama::{LLAMA, Scales};
use crate::models::page::{Block, Norm, Page};
use crate::models::rotary;
use crate::ops::{Activation, AttentionShape, GatedNorm, Pairing, Ssd};

/// A Mamba-2 layer.
struct Mamba {
    ssd: Ssd,
    taps: usize,
    eps: f32,
}

impl Mamba {
    fn read(p: &Page<'_>, eps: f32) -> Result<Mamba> {
        let keys = &p.w.keys;
        let [heads, inner, state, groups, taps] = [
            keys.count("ssm.time_step_rank")?,
            keys.count("ssm.inner_size")?,
            keys.count("ssm.state_size")?,
            keys.count("ssm.group_count")?,
            keys.count("ssm.conv_kernel")?,
        ];
        let fits = inner.is_multiple_of(heads)
            && heads.is_multiple_of(groups)
            && state.is_multiple_of(4)
            && inner.is_multiple_of(4);
        if !fits || taps < 2 {
            return Err(Error::Model(format!(
                "keys {}*: {inner} numbers in {heads} heads, {groups} groups, states of {state}, {taps} taps; expected whole heads, whole \
                 groups of them, multiples of 4, and at least 2",
                keys.name("ssm.")
            )));
        }
        Ok(Mamba { ssd: Ssd { heads, width: inner / heads, groups, state }, taps, eps })
    }
}

/// The forward pass.
pub fn forward(p: &mut Page<'_>) -> Result<()> {
    let norm = p.rms()?;
    let (Norm::Rms { eps } | Norm::Layer { eps }) = norm;
    let scales = Scales::read(p)?;
    let keys = &p.w.keys;
    let ffn = keys.count("feed_forward_length")?;
    let heads = keys.count("attention.head_count")?;
    let kv_heads = keys.counts("attention.head_count_kv", p.layers)?;
    // What these files call finetuned is whether there are rotary positions at all.
    let rotates = keys.flag("rope.scaling.finetuned", true)?;
    let experts = Experts::read(p, ffn, &LLAMA.route)?;
    let mamba = Mamba::read(p, eps)?;

    let x = p.embed()?;
    let mut x = p.top(norm).scale("embedding", x, scales.embedding);
    for (layer, &kv_heads) in kv_heads.iter().enumerate() {
        let attention = match kv_heads {
            0 => None,
            kv_heads => {
                let attention = Attention::of_heads(p, heads, kv_heads)?;
                let scale = scales.attention.unwrap_or(attention.shape.scale);
                let rope = match rotates {
                    true => Some(rotary::read(p, attention.shape.head_dim, Pairing::Neighbours)?),
                    false => None,
                };
                Some(Attention { rope, shape: AttentionShape { scale, ..attention.shape }, ..attention })
            }
        };
        let mut b = p.block(layer, norm);
        let h = b.norm("attn_norm", x)?;
        let a = match attention {
            Some(attention) => b.attention(h, &attention)?,
            None => b.mamba(h, &mamba)?,
        };
        let a = b.scale("attn_scaled", a, scales.residual);
        let x1 = b.add("attn_residual", x, a);
        let h = b.norm("ffn_norm", x1)?;
        x = match &experts {
            Some(experts) => b.add_experts(x1, h, experts, Activation::Silu, scales.residual)?,
            None => {
                let f = b.gated(h, ffn, Activation::Silu)?;
                let f = b.scale("ffn_scaled", f, scales.residual);
                b.add("ffn_residual", x1, f)
            }
        };
    }
    let logits = p.output(x, norm)?;
    p.top(norm).scale("logits", logits, scales.logits);
    Ok(())
}

impl Block<'_> {
    /// A Mamba-2 layer: a convolution of x, B and C, the recurrence, and a norm of groups behind the gate.
    fn mamba(&mut self, h: Node, mamba: &Mamba) -> Result<Node> {
        let Ssd { heads, width, groups, state } = mamba.ssd;
        let (inner, conv) = (heads * width, heads * width + 2 * groups * state);
        let all = inner + conv + heads;
        let mut part = |name, from, rows| self.linear_part(name, "ssm_in", h, all, from..from + rows);
        let z = part("ssm_z", 0, inner)?;
        let xbc = part("ssm_xbc", inner, conv)?;
        let dt = part("ssm_dt", inner + conv, heads)?;
        let xbc = self.ssm_conv(xbc, mamba.taps)?;
        let decay = self.stacked("ssm_a", heads, 1)?;
        let bias = self.vector("ssm_dt.bias", heads)?;
        let through = self.stacked("ssm_d", heads, 1)?;
        let y = self.g.ssd(xbc, dt, [decay, bias, through], mamba.ssd.clone());
        let y = self.ssm_norm(y, z, GatedNorm { eps: mamba.eps, groups, gate_first: true })?;
        self.linear("ssm_out", y, self.g.shape(h).cols)
    }
}
