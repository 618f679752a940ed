//! y[r, h] = Σ over p of softmax over p (scale · q[r, h] · k[p, g]) · v[p, g], for positions p of row r's slot up to its own,
//! at most `window` of them, or those of its own chunk alone; g = h / (heads / kv heads).
//!
//! A fourth input is a score for each head that no position has, its sink: it takes part in the softmax, and nothing has its weight.
//! Xiao et al. 2023, arXiv 2309.17453; OpenAI 2025, arXiv 2508.10925

use crate::graph::{Shape, Step};
use crate::ops::{Value, must};

/// How the heads of a model attend.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionShape {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; each serves heads / kv_heads query heads.
    pub kv_heads: usize,
    /// Length of a head.
    pub head_dim: usize,
    /// Factor of the scores.
    pub scale: f32,
    /// How that factor grows with a row's position, if it does.
    pub temperature: Option<Temperature>,
    /// Positions that a row sees, its own included; 0: all.
    pub window: u32,
    /// Positions of a chunk, of which a row sees its own alone; 0: there are no chunks.
    pub chunk: u32,
    /// Soft bound on the size of scores, `cap · tanh(score / cap)`; 0: none.
    pub softcap: f32,
}

/// A factor that grows with the position p: 1 + scale · ln(1 + ⌊(p + ahead) / length⌋).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Temperature {
    /// How much it grows.
    pub scale: f32,
    /// Positions of a step.
    pub length: u32,
    /// Positions by which steps come early.
    pub ahead: u32,
}

impl Temperature {
    /// The factor at a position.
    pub fn at(&self, position: u32) -> f64 {
        let steps = (position as u64 + self.ahead as u64) / self.length as u64;
        1.0 + self.scale as f64 * ((1 + steps) as f64).ln()
    }
}

impl AttentionShape {
    /// Heads that see all positions before them, with scores divided by the root of a head's length.
    pub fn new(heads: usize, kv_heads: usize, head_dim: usize) -> AttentionShape {
        AttentionShape {
            heads,
            kv_heads,
            head_dim,
            scale: 1.0 / (head_dim as f32).sqrt(),
            temperature: None,
            window: 0,
            chunk: 0,
            softcap: 0.0,
        }
    }

    /// The first position that a row at `position` sees.
    pub fn first_seen(&self, position: u32) -> u32 {
        let of_window = if self.window == 0 { 0 } else { (position + 1).saturating_sub(self.window) };
        let of_chunk = position.checked_div(self.chunk).map_or(0, |chunks| chunks * self.chunk);
        of_window.max(of_chunk)
    }

    /// The factor of the scores of a row at `position`.
    pub fn scale_at(&self, position: u32) -> f64 {
        self.scale as f64 * self.temperature.map_or(1.0, |t| t.at(position))
    }
}

/// Attention of rows of query heads to a layer's caches of keys and values.
#[derive(Clone, Debug, PartialEq)]
pub struct Attend(pub AttentionShape);

impl Attend {
    pub(super) fn bound(&self) -> f64 {
        1e-7
    }

    pub(super) fn shape(&self, inputs: &[Shape]) -> Shape {
        let s = &self.0;
        must(
            "attend",
            s.heads.is_multiple_of(s.kv_heads),
            "the query heads are not a multiple of the kv heads",
        );
        must("attend", inputs[0].cols == s.heads * s.head_dim, "q is not heads × head_dim wide");
        for cache in &inputs[1..3] {
            must(
                "attend",
                cache.cols == s.kv_heads * s.head_dim,
                "the cache is not kv_heads × head_dim wide",
            );
        }
        must("attend", inputs.get(3).is_none_or(|sinks| sinks.cols == s.heads), "not one sink for each head");
        inputs[0]
    }

    pub(super) fn reference(&self, step: &Step, inputs: &[Value<'_>], out: &mut [f32]) {
        let s = &self.0;
        let (keys, values) = (inputs[1].cache(), inputs[2].cache());
        let sinks = inputs.get(3).map(|sinks| sinks.weight().vector());
        let d = s.head_dim;
        let mut head = vec![0.0; d];
        for (at, y) in out.chunks_exact_mut(d).enumerate() {
            let (r, h) = (at / s.heads, at % s.heads);
            let g = h / (s.heads / s.kv_heads);
            let row = step.rows[r];
            let (first, scale) = (s.first_seen(row.position), s.scale_at(row.position));
            let q = &inputs[0].row(r)[h * d..][..d];
            let mut score = |p: u32| -> f64 {
                keys.load(row.slot, p, g, &mut head);
                let product = q.iter().zip(&head).map(|(&q, &k)| q as f64 * k as f64).sum::<f64>();
                let (score, cap) = (product * scale, s.softcap as f64);
                if cap > 0.0 { cap * (score / cap).tanh() } else { score }
            };
            let scores: Vec<f64> = (first..=row.position).map(&mut score).collect();
            let sink = sinks.as_ref().map_or(f64::NEG_INFINITY, |sinks| sinks[h] as f64);
            let largest = scores.iter().copied().fold(sink, f64::max);
            let mut sum = (sink - largest).exp();
            let mut acc = vec![0.0f64; d];
            for (p, score) in (first..=row.position).zip(scores) {
                let weight = (score - largest).exp();
                sum += weight;
                values.load(row.slot, p, g, &mut head);
                for (a, &v) in acc.iter_mut().zip(&head) {
                    *a += weight * v as f64;
                }
            }
            for (y, a) in y.iter_mut().zip(acc) {
                *y = (a / sum) as f32;
            }
        }
    }
}
