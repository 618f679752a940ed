//! y[r, n] = Σ over k of weight[r, k] · x[r, k, n], the weights those of row r's route, or 1

use crate::graph::{Shape, Step};
use crate::ops::route::routed;
use crate::ops::{Value, must};

/// The weighted sum of what a row's experts gave; inputs are that and the route.
#[derive(Clone, Debug, PartialEq)]
pub struct Combine {
    /// Experts that a row goes to.
    pub used: usize,
    /// Whether the route's weights act here, and not where experts are given x.
    pub weighted: bool,
}

impl Combine {
    pub(super) fn bound(&self) -> f64 {
        1e-7
    }

    pub(super) fn shape(&self, inputs: &[Shape]) -> Shape {
        must("combine", inputs[1].cols == 2 * self.used, "the route is of another number of experts");
        must("combine", inputs[0].cols.is_multiple_of(self.used), "a row is not one result for each expert");
        Shape { cols: inputs[0].cols / self.used, ..inputs[0] }
    }

    pub(super) fn reference(&self, _: &Step, inputs: &[Value<'_>], out: &mut [f32]) {
        let n = inputs[0].rows().1 / self.used;
        for (r, y) in out.chunks_exact_mut(n).enumerate() {
            let parts: Vec<(f32, &[f32])> = routed(inputs[1].row(r))
                .zip(inputs[0].row(r).chunks_exact(n))
                .map(|((_, w), x)| (if self.weighted { w } else { 1.0 }, x))
                .collect();
            for (j, y) in y.iter_mut().enumerate() {
                *y = parts.iter().map(|(weight, x)| *weight as f64 * x[j] as f64).sum::<f64>() as f32;
            }
        }
    }
}
