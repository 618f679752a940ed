//! y[r, c] = act(gate[r, c]) · up[r, c]      Shazeer 2020, arXiv 2002.05202

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
        must("gate", inputs[0] == inputs[1], "gate and up differ in shape");
        inputs[0]
    }

    pub(super) fn reference(&self, _: &Step, inputs: &[Value<'_>], out: &mut [f32]) {
        let (gate, up) = (inputs[0].rows().0, inputs[1].rows().0);
        for ((y, &g), &u) in out.iter_mut().zip(gate).zip(up) {
            *y = self.act.of(g) * u;
        }
    }
}
