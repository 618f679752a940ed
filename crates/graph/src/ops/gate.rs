//! y[r, c] = act(gate[r, c]) · up[r, c]      Shazeer 2020, arXiv 2002.05202
//!
//! or, where the gate is one number a row, act(gate[r]) · up[r, c]; or, of one input, whose rows are `stretches` of gate and then up,
//! y[r, s, c] = act(x[r, s, c]) · x[r, s, n + c]. Under a clamp gate becomes min(gate, limit), and up
//! max(−limit, min(up, limit)) + shift.

use crate::graph::{Shape, Step};
use crate::ops::{Activation, Value, must};

/// A gated feed-forward's middle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gate {
    /// The gate's activation function.
    pub act: Activation,
    /// What becomes of gate and up before, if anything does.
    pub clamp: Option<Clamp>,
    /// Stretches of a row, where gate and up are one input.
    pub stretches: usize,
}

/// Bounds of gate and up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clamp {
    /// What gate does not exceed, and up not in size.
    pub limit: f32,
    /// What is added to up.
    pub shift: f32,
}

impl From<Activation> for Gate {
    fn from(act: Activation) -> Gate {
        Gate::of(act)
    }
}

impl Gate {
    /// Of an activation function alone.
    pub const fn of(act: Activation) -> Gate {
        Gate { act, clamp: None, stretches: 1 }
    }

    pub(super) fn bound(&self) -> f64 {
        1e-7
    }

    pub(super) fn shape(&self, inputs: &[Shape]) -> Shape {
        if let [x] = inputs {
            must("gate", x.cols.is_multiple_of(2 * self.stretches), "a row is not stretches of gate and up");
            return Shape { cols: x.cols / 2, ..*x };
        }
        let [gate, up] = [inputs[0], inputs[1]];
        let fits = gate.rows == up.rows && (gate.cols == up.cols || gate.cols == 1);
        must("gate", fits, "gate and up differ in shape");
        up
    }

    fn of_numbers(&self, gate: f32, up: f32) -> f32 {
        match self.clamp {
            Some(Clamp { limit, shift }) => self.act.of(gate.min(limit)) * (up.clamp(-limit, limit) + shift),
            None => self.act.of(gate) * up,
        }
    }

    pub(super) fn reference(&self, _: &Step, inputs: &[Value<'_>], out: &mut [f32]) {
        let (gate, cols) = inputs[0].rows();
        if inputs.len() == 1 {
            let n = cols / (2 * self.stretches);
            for (x, y) in gate.chunks_exact(2 * n).zip(out.chunks_exact_mut(n)) {
                let (gate, up) = x.split_at(n);
                gate.iter().zip(up).zip(y).for_each(|((&g, &u), y)| *y = self.of_numbers(g, u));
            }
            return;
        }
        let (up, up_cols) = inputs[1].rows();
        if cols < up_cols {
            for ((y, &g), up) in out.chunks_exact_mut(up_cols).zip(gate).zip(up.chunks_exact(up_cols)) {
                y.iter_mut().zip(up).for_each(|(y, &u)| *y = self.of_numbers(g, u));
            }
            return;
        }
        for ((y, &g), &u) in out.iter_mut().zip(gate).zip(up) {
            *y = self.of_numbers(g, u);
        }
    }
}
