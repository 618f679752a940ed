//! What the layers of many architectures share: attention as a file's keys describe it, and feed-forwards. What differs is data.

use crate::error::{Error, Result};
use crate::graph::Node;
use crate::models::page::{Block, Page};
use crate::models::rotary;
use crate::ops::{Activation, AttentionShape, Gate, Pairing, RopeShape};

/// Where queries and keys are normalised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadNorm {
    /// Nowhere.
    None,
    /// Each head, before its rotary positions.
    Before,
    /// Each head, after its rotary positions.
    After,
    /// Each head, after its rotary positions, without a weight.
    UnitAfter,
    /// All heads of a row as one, before their rotary positions.
    Whole,
}

/// Attention of a layer.
#[derive(Clone, Copy, Debug)]
pub struct Attention {
    /// Heads, scale, window.
    pub shape: AttentionShape,
    /// Rotary positions, if the layer has them.
    pub rope: Option<RopeShape>,
    /// What divides the frequencies.
    pub factors: Option<Node>,
    /// Where queries and keys are normalised.
    pub head_norm: HeadNorm,
    /// Whether each head has a sink.
    pub sinks: bool,
}

impl Attention {
    /// Heads as the file's keys have them: all positions, no positional encoding.
    pub fn read(p: &Page<'_>) -> Result<Attention> {
        let keys = &p.w.keys;
        let heads = keys.count("attention.head_count")?;
        let kv_heads = keys.count_or_none("attention.head_count_kv")?.unwrap_or(heads);
        Attention::of_heads(p, heads, kv_heads)
    }

    /// The same with so many heads, whatever the keys say of keys and values.
    pub fn of_heads(p: &Page<'_>, heads: usize, kv_heads: usize) -> Result<Attention> {
        let keys = &p.w.keys;
        if kv_heads == 0 || !heads.is_multiple_of(kv_heads) {
            let name = keys.name("attention.head_count");
            return Err(Error::Model(format!(
                "{name} is {heads}, not a multiple of head_count_kv {kv_heads}"
            )));
        }
        let head_dim = match keys.count_or_none("attention.key_length")? {
            Some(head_dim) => head_dim,
            None if !p.width.is_multiple_of(heads) => {
                let (name, width) = (keys.name("embedding_length"), p.width);
                return Err(Error::Model(format!("{name} {width} is not {heads} heads of equal length")));
            }
            None => p.width / heads,
        };
        let value_dim = keys.count_or_none("attention.value_length")?.unwrap_or(head_dim);
        if value_dim != head_dim || head_dim == 0 || !head_dim.is_multiple_of(4) {
            let keys = [keys.name("attention.key_length"), keys.name("attention.value_length")].join(", ");
            let what = format!("heads of {head_dim} keys and {value_dim} values ({keys})");
            return Err(Error::Model(format!("{what}, expected the same multiple of 4")));
        }
        let shape = AttentionShape::new(heads, kv_heads, head_dim);
        Ok(Attention { shape, rope: None, factors: None, head_norm: HeadNorm::None, sinks: false })
    }

    /// The same with rotary positions as the keys have them, and with the factors in `rope_freqs` if there are any.
    pub fn rotary(p: &mut Page<'_>, pairing: Pairing) -> Result<Attention> {
        let attention = Attention::read(p)?;
        let pairing = if p.w.pairs_lie_as_halves() { Pairing::Halves } else { pairing };
        let rope = rotary::read(p, attention.shape.head_dim, pairing)?;
        let factors = p.w.vector_or_none(p.g, "rope_freqs.weight", rope.rotary / 2)?;
        Ok(Attention { rope: Some(rope), factors, ..attention })
    }

    /// Attention of each layer where there is a window of so many positions: in all but every `period`-th layer, or in those that the file says.
    /// Without a window all layers are the same.
    pub fn of_layers(
        self,
        p: &Page<'_>,
        window: usize,
        period: usize,
    ) -> Result<impl Fn(usize) -> Attention + use<>> {
        let rope = self.rope.map(|rope| rotary::of_windows(p, rope)).transpose()?;
        let near = Attention { rope, ..self }.window(window);
        let windowed = p.w.keys.windows_of(window, p.layers, period)?;
        Ok(move |layer| if windowed.holds(layer) { near } else { self })
    }

    /// The same with a window of so many positions; 0: all.
    pub fn window(self, window: usize) -> Attention {
        Attention { shape: AttentionShape { window: window as u32, ..self.shape }, ..self }
    }
}

impl Block<'_> {
    /// Queries, keys and values of `h` from tensors of their own or from one that holds them in this order, norms of heads, rotary
    /// positions, attention, and its projection: `attn_output`.
    pub fn attention(&mut self, h: Node, a: &Attention) -> Result<Node> {
        let [q, k, v] = self.heads(h, &a.shape)?;
        let q = self.placed("q", q, a.shape.heads, a)?;
        let k = self.placed("k", k, a.shape.kv_heads, a)?;
        let sinks = match a.sinks {
            true => Some(self.vector("attn_sinks.weight", a.shape.heads)?),
            false => None,
        };
        let caches = self.g.store(k, v, a.shape);
        let y = self.g.attend(q, caches, sinks, a.shape);
        self.linear("attn_output", y, self.g.shape(h).cols)
    }

    /// Queries, keys and values.
    pub fn heads(&mut self, h: Node, shape: &AttentionShape) -> Result<[Node; 3]> {
        let (q, kv) = (shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim);
        if self.holds("attn_qkv.weight") {
            let mut part =
                |name, from, rows| self.linear_part(name, "attn_qkv", h, q + 2 * kv, from..from + rows);
            return Ok([part("attn_q", 0, q)?, part("attn_k", q, kv)?, part("attn_v", q + kv, kv)?]);
        }
        Ok([self.linear("attn_q", h, q)?, self.linear("attn_k", h, kv)?, self.linear("attn_v", h, kv)?])
    }

    /// Queries or keys with their norms and their positions.
    pub fn placed(&mut self, which: &str, x: Node, heads: usize, a: &Attention) -> Result<Node> {
        let (norm, rope) = (format!("attn_{which}_norm"), format!("rope_{which}"));
        let mut x = match a.head_norm {
            HeadNorm::Before => self.group_norm(&norm, x, heads)?,
            HeadNorm::Whole => self.group_norm(&norm, x, 1)?,
            HeadNorm::None | HeadNorm::After | HeadNorm::UnitAfter => x,
        };
        if let Some(shape) = a.rope {
            x = self.g.rope(x, a.factors, shape);
            x = self.name(x, &rope);
        }
        match a.head_norm {
            HeadNorm::After => self.group_norm(&norm, x, heads),
            HeadNorm::UnitAfter => Ok(self.unit_norm(&norm, x, heads)),
            _ => Ok(x),
        }
    }

    /// A feed-forward with a gate: `ffn_down` of act(`ffn_gate`) · `ffn_up`.
    pub fn gated(&mut self, h: Node, ffn: usize, middle: impl Into<Gate>) -> Result<Node> {
        let gate = self.linear("ffn_gate", h, ffn)?;
        let up = self.linear("ffn_up", h, ffn)?;
        self.down(gate, up, middle.into(), self.g.shape(h).cols)
    }

    /// The same where `ffn_up` holds the gate's rows and then those of up.
    pub fn gated_in_one(&mut self, h: Node, ffn: usize, act: Activation) -> Result<Node> {
        let gate = self.linear_part("ffn_gate", "ffn_up", h, 2 * ffn, 0..ffn)?;
        let up = self.linear_part("ffn_up", "ffn_up", h, 2 * ffn, ffn..2 * ffn)?;
        self.down(gate, up, act.into(), self.g.shape(h).cols)
    }

    fn down(&mut self, gate: Node, up: Node, middle: Gate, width: usize) -> Result<Node> {
        let f = self.g.gate(middle, gate, up);
        let f = self.name(f, "gate");
        self.linear("ffn_down", f, width)
    }

    /// A feed-forward without a gate: `ffn_down` of act(`ffn_up`).
    pub fn ungated(&mut self, h: Node, ffn: usize, act: Activation) -> Result<Node> {
        let up = self.linear("ffn_up", h, ffn)?;
        let f = self.g.unary(act, up);
        let f = self.name(f, "act");
        self.linear("ffn_down", f, self.g.shape(h).cols)
    }
}
