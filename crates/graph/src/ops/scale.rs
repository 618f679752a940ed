//! y[r, c] = factor · x[r, c], or factor · w · x[r, c] with a weight of one number

use crate::graph::{Shape, Step};
use crate::ops::{Value, must};

/// A number times an activation: the scale of embeddings, residuals or logits. A second input is a number of the file.
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
        must("scale", inputs.get(1).is_none_or(|w| w.cols == 1), "the weight is more than one number");
        inputs[0]
    }

    pub(super) fn reference(&self, _: &Step, inputs: &[Value<'_>], out: &mut [f32]) {
        let factor = self.factor * inputs.get(1).map_or(1.0, |w| w.weight().vector()[0]);
        for (y, &x) in out.iter_mut().zip(inputs[0].rows().0) {
            *y = factor * x;
        }
    }
}
