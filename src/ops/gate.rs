//! y[r, c] = act(gate[r, c]) · up[r, c]      Shazeer 2020, arXiv 2002.05202
//!
//! or, where the gate is one number a row, act(gate[r]) · up[r, c].

use crate::graph::{Shape, Step};
use crate::ops::{Activation, Value, must};

/// A gated feed-forward's middle.
#[derive(Clone, Debug, PartialEq)]
pub struct Gate {
    /// The gate's activation function.
    pub act: Activation,
}

impl Gate {
    pub(super) fn bound(&self) -> f64 {
        1e-7
    }

    pub(super) fn shape(&self, inputs: &[Shape]) -> Shape {
        let [gate, up] = [inputs[0], inputs[1]];
        let fits = gate.rows == up.rows && (gate.cols == up.cols || gate.cols == 1);
        must("gate", fits, "gate and up differ in shape");
        up
    }

    pub(super) fn reference(&self, _: &Step, inputs: &[Value<'_>], out: &mut [f32]) {
        let ((gate, cols), (up, up_cols)) = (inputs[0].rows(), inputs[1].rows());
        if cols < up_cols {
            for ((y, &g), up) in out.chunks_exact_mut(up_cols).zip(gate).zip(up.chunks_exact(up_cols)) {
                let factor = self.act.of(g);
                y.iter_mut().zip(up).for_each(|(y, &u)| *y = factor * u);
            }
            return;
        }
        for ((y, &g), &u) in out.iter_mut().zip(gate).zip(up) {
            *y = self.act.of(g) * u;
        }
    }
}
