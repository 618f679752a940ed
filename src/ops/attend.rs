//! y[r, h] = Σ over p of softmax over p (scale · q[r, h] · k[p, g]) · v[p, g], for positions p of row r's slot up to its own,
//! at most `window` of them; g = h / (heads / kv heads).

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
    /// Positions that a row sees, its own included; 0: all.
    pub window: u32,
    /// Soft bound on the size of scores, `cap · tanh(score / cap)`; 0: none.
    pub softcap: f32,
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
        must(
            "attend",
            inputs[1].cols == s.kv_heads * s.head_dim,
            "the cache is not kv_heads × head_dim wide",
        );
        inputs[0]
    }

    pub(super) fn reference(&self, step: &Step, inputs: &[Value<'_>], out: &mut [f32]) {
        let s = &self.0;
        let (keys, values) = (inputs[1].cache(), inputs[2].cache());
        let d = s.head_dim;
        let mut head = vec![0.0; d];
        for (at, y) in out.chunks_exact_mut(d).enumerate() {
            let (r, h) = (at / s.heads, at % s.heads);
            let g = h / (s.heads / s.kv_heads);
            let row = step.rows[r];
            let first = if s.window == 0 { 0 } else { (row.position + 1).saturating_sub(s.window) };
            let q = &inputs[0].row(r)[h * d..][..d];
            let mut score = |p: u32| -> f64 {
                keys.load(row.slot, p, g, &mut head);
                let product = q.iter().zip(&head).map(|(&q, &k)| q as f64 * k as f64).sum::<f64>();
                let (score, cap) = (product * s.scale as f64, s.softcap as f64);
                if cap > 0.0 { cap * (score / cap).tanh() } else { score }
            };
            let scores: Vec<f64> = (first..=row.position).map(&mut score).collect();
            let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let mut sum = 0.0f64;
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
