//! y[r, c] = factor · x[r, c]

use crate::graph::{Shape, Step};
use crate::ops::Value;

/// A number times an activation: the scale of embeddings, residuals or logits.
#[derive(Clone, Debug, PartialEq)]
pub struct Scale {
    /// The number.
    pub factor: f32,
}

impl Scale {
    pub(super) fn bound(&self) -> f64 {
        1e-7
    }

    pub(super) fn shape(&self, inputs: &[Shape]) -> Shape {
        inputs[0]
    }

    pub(super) fn reference(&self, _: &Step, inputs: &[Value<'_>], out: &mut [f32]) {
        for (y, &x) in out.iter_mut().zip(inputs[0].rows().0) {
            *y = self.factor * x;
        }
    }
}
