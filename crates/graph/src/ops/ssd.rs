//! S ← g · S + Δ · x Bᵀ, y = S C + D · x for each row in the order of positions and each head; S is [width, state].
//! Dao & Gu 2024, arXiv 2405.21060 (Mamba-2)
//!
//! Δ = softplus(dt + bias), g = exp(decay · Δ), softplus(x) = ln(1 + eˣ). A row is [x | B | C]: `heads` heads of x, `groups` groups of B
//! and as many of C. Head h belongs to group h / (heads / groups).

use crate::graph::{Shape, Step};
use crate::memory::MemoryKind;
use crate::ops::delta_rule::softplus;
use crate::ops::{Value, must};

/// The recurrence of Mamba-2. Inputs are rows [x | B | C], dt (a number for each head), decay, bias and D (weights of as many), and the
/// state, which is left as it is behind the last row.
#[derive(Clone, Debug, PartialEq)]
pub struct Ssd {
    /// Heads of x.
    pub heads: usize,
    /// Numbers of a head.
    pub width: usize,
    /// Groups of B and C.
    pub groups: usize,
    /// Numbers of a group.
    pub state: usize,
}

impl Ssd {
    /// Its sums are carried through all rows of a step.
    pub(super) fn bound(&self) -> f64 {
        1e-7
    }

    /// What is kept of each slot.
    pub fn memory(&self) -> MemoryKind {
        MemoryKind::Recurrent { heads: self.heads, rows: self.width, cols: self.state }
    }

    pub(super) fn shape(&self, inputs: &[Shape]) -> Shape {
        let [x, dt, decay, bias, through, state] = inputs else { panic!("ssd: six inputs were expected") };
        let inner = self.heads * self.width;
        must("ssd", self.heads.is_multiple_of(self.groups), "the heads are not a multiple of the groups");
        must("ssd", self.state.is_multiple_of(4), "groups are not whole vectors of four");
        must("ssd", inner.is_multiple_of(4), "x is not whole vectors of four");
        must("ssd", x.cols == inner + 2 * self.groups * self.state, "a row is not [x | B | C]");
        let all = [dt, decay, bias, through].iter().all(|s| s.cols == self.heads);
        must("ssd", all, "not one number for each head");
        must("ssd", state.cols == self.memory().numbers(0), "the state is of another size");
        Shape { cols: inner, ..*x }
    }

    /// The factor of the old state and the share of the new, of what dt and its bias are together.
    pub(crate) fn gates(&self, dt: f32, decay: f32) -> [f32; 2] {
        let share = softplus(dt);
        [(decay * share).exp(), share]
    }

    pub(super) fn reference(&self, step: &Step, inputs: &[Value<'_>], out: &mut [f32]) {
        let (p, n) = (self.width, self.state);
        let [decay, bias, through] = [2, 3, 4].map(|i: usize| inputs[i].weight().vector());
        let mut states = inputs[5].states().lock();
        for (r, row) in step.rows.iter().enumerate() {
            let (x, b_and_c) = inputs[0].row(r).split_at(self.heads * p);
            for h in 0..self.heads {
                let state = &mut states[(row.slot as usize * self.heads + h) * p * n..][..p * n];
                if row.position == 0 {
                    state.fill(0.0);
                }
                let group = h / (self.heads / self.groups);
                let (b, c) = (&b_and_c[group * n..][..n], &b_and_c[(self.groups + group) * n..][..n]);
                let [keep, share] = self.gates(inputs[1].row(r)[h] + bias[h], decay[h]);
                for (j, column) in state.chunks_exact_mut(n).enumerate() {
                    let x = x[h * p + j];
                    column.iter_mut().zip(b).for_each(|(s, &b)| *s = keep * *s + share * x * b);
                    let sum: f64 = column.iter().zip(c).map(|(&s, &c)| s as f64 * c as f64).sum();
                    out[(r * self.heads + h) * p + j] = (sum + through[h] as f64 * x as f64) as f32;
                }
            }
        }
    }
}
