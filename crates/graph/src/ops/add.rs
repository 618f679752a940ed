//! y[r, c] = a[r, c] + b[r, c]

use crate::graph::{Shape, Step};
use crate::ops::{Value, must};

/// The sum of two activations.
#[derive(Clone, Debug, PartialEq)]
pub struct Add;

impl Add {
    pub(super) fn bound(&self) -> f64 {
        1e-7
    }

    pub(super) fn shape(&self, inputs: &[Shape]) -> Shape {
        must("add", inputs[0] == inputs[1], "the summands differ in shape");
        inputs[0]
    }

    pub(super) fn reference(&self, _: &Step, inputs: &[Value<'_>], out: &mut [f32]) {
        let (a, b) = (inputs[0].rows().0, inputs[1].rows().0);
        for ((y, &a), &b) in out.iter_mut().zip(a).zip(b) {
            *y = a + b;
        }
    }
}
