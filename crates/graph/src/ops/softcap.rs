//! y[r, c] = cap · tanh(x[r, c] / cap)      Gemma Team 2024, arXiv 2408.00118

use crate::graph::{Shape, Step};
use crate::ops::Value;

/// A soft bound on the size of numbers: of logits.
#[derive(Clone, Debug, PartialEq)]
pub struct Softcap {
    /// What no number exceeds.
    pub cap: f32,
}

impl Softcap {
    pub(super) fn bound(&self) -> f64 {
        1e-7
    }

    pub(super) fn shape(&self, inputs: &[Shape]) -> Shape {
        inputs[0]
    }

    pub(super) fn reference(&self, _: &Step, inputs: &[Value<'_>], out: &mut [f32]) {
        let cap = self.cap as f64;
        for (y, &x) in out.iter_mut().zip(inputs[0].rows().0) {
            *y = (cap * (x as f64 / cap).tanh()) as f32;
        }
    }
}
