//! S ← g · S + k̂ (β (v − g · Sᵀ k̂))ᵀ, o = Sᵀ q̂ for each row in the order of positions and each head of v; S is [width of k, width of v].
//! Yang, Kautz & Hatamizadeh 2024, arXiv 2412.06464 (gated delta networks)
//!
//! k̂ = k / sqrt(Σ k² + eps), q̂ = q / sqrt(Σ q² + eps) / sqrt(width), β = sigmoid(b), g = exp(decay · softplus(a + bias)), softplus(x) = ln(1 + eˣ).
//! A row of x is [q | k | v]: `k_heads` heads of q, as many of k, `v_heads` of v. Head h of v belongs to head h mod `k_heads` of k.

use crate::graph::{Shape, Step};
use crate::memory::MemoryKind;
use crate::ops::{Activation, Value, must};

/// The gated delta rule. Inputs are x, a and b (a number for each head of v), decay and bias (weights of as many), and the state, which is
/// left as it is behind the last row. The state of a head is kept as `[width of v][width of k]`.
#[derive(Clone, Debug, PartialEq)]
pub struct DeltaRule {
    /// Heads of q and of k.
    pub k_heads: usize,
    /// Heads of v.
    pub v_heads: usize,
    /// Numbers of a head, of all three.
    pub width: usize,
    /// Added to the squares of q and k.
    pub eps: f32,
}

/// ln(1 + eˣ), without loss where eˣ is small or large.
pub(crate) fn softplus(x: f32) -> f32 {
    let x = x as f64;
    (if x > 30.0 { x } else { x.exp().ln_1p() }) as f32
}

impl DeltaRule {
    /// Its sums are carried through all rows of a step.
    pub(super) fn bound(&self) -> f64 {
        1e-7
    }

    /// What is kept of each slot.
    pub fn memory(&self) -> MemoryKind {
        MemoryKind::Recurrent { heads: self.v_heads, rows: self.width, cols: self.width }
    }

    pub(super) fn shape(&self, inputs: &[Shape]) -> Shape {
        let [x, a, b, decay, bias, state] = inputs else { panic!("delta_rule: six inputs were expected") };
        let heads = self.v_heads;
        must("delta_rule", heads.is_multiple_of(self.k_heads), "v has not a multiple of k's heads");
        must("delta_rule", self.width.is_multiple_of(4), "heads are not whole vectors of four");
        must("delta_rule", x.cols == (2 * self.k_heads + heads) * self.width, "a row is not [q | k | v]");
        let all = [a, b, decay, bias].iter().all(|s| s.cols == heads);
        must("delta_rule", all, "not one number for each head of v");
        must("delta_rule", state.cols == self.memory().numbers(0), "the state is of another size");
        Shape { cols: heads * self.width, ..*x }
    }

    /// The factor of the old state and the share of the new, of row `r` and head `h`.
    pub(crate) fn gates(
        &self,
        inputs: &[Value<'_>],
        [decay, bias]: [&[f32]; 2],
        r: usize,
        h: usize,
    ) -> [f32; 2] {
        let keep = (decay[h] * softplus(inputs[1].row(r)[h] + bias[h])).exp();
        [keep, Activation::Sigmoid.of(inputs[2].row(r)[h])]
    }

    pub(super) fn reference(&self, step: &Step, inputs: &[Value<'_>], out: &mut [f32]) {
        let (w, size) = (self.width, self.width * self.width);
        let (decay, bias) = (inputs[3].weight().vector(), inputs[4].weight().vector());
        let mut states = inputs[5].states().lock();
        for (r, row) in step.rows.iter().enumerate() {
            let x = inputs[0].row(r);
            for h in 0..self.v_heads {
                let state = &mut states[(row.slot as usize * self.v_heads + h) * size..][..size];
                if row.position == 0 {
                    state.fill(0.0);
                }
                let head = |n: usize| &x[n * w..][..w];
                let (q, k) = (head(h % self.k_heads), head(self.k_heads + h % self.k_heads));
                let v = head(2 * self.k_heads + h);
                let length = |x: &[f32]| {
                    let squares: f64 = x.iter().map(|&x| x as f64 * x as f64).sum();
                    (squares + self.eps as f64).sqrt()
                };
                let (of_k, of_q) = (1.0 / length(k), 1.0 / length(q) / (w as f64).sqrt());
                let [keep, share] = self.gates(inputs, [&decay, &bias], r, h);
                for (j, column) in state.chunks_exact_mut(w).enumerate() {
                    column.iter_mut().for_each(|s| *s *= keep);
                    let dot = |x: &[f32], s: &[f32]| -> f64 {
                        x.iter().zip(s).map(|(&x, &s)| x as f64 * s as f64).sum()
                    };
                    let change = share as f64 * (v[j] as f64 - dot(k, column) * of_k);
                    column.iter_mut().zip(k).for_each(|(s, &k)| *s += (k as f64 * of_k * change) as f32);
                    out[(r * self.v_heads + h) * w + j] = (dot(q, column) * of_q) as f32;
                }
            }
        }
    }
}
