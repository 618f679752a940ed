//! y[r, g, c] = x[r, g, c] · w[c] / sqrt(mean over c of x[r, g, c]² + eps)      Zhang & Sennrich 2019, arXiv 1910.07467
//!
//! A row is `groups` stretches of equal length, normalised each on its own: heads, or the whole row as one. The last `rest` numbers of each
//! stretch stay as they are.

use crate::graph::{Shape, Step};
use crate::ops::{Value, must};

/// Root-mean-square normalisation of each row, or of each group of it; without a second input there is no weight.
#[derive(Clone, Debug, PartialEq)]
pub struct RmsNorm {
    /// Added to the mean square.
    pub eps: f32,
    /// Stretches of a row that are normalised on their own.
    pub groups: usize,
    /// Numbers at the end of each that are not.
    pub rest: usize,
}

impl RmsNorm {
    pub(super) fn bound(&self) -> f64 {
        1e-7
    }

    pub(super) fn shape(&self, inputs: &[Shape]) -> Shape {
        must("rms_norm", inputs[0].cols.is_multiple_of(self.groups), "a row is not whole groups");
        let cols = inputs[0].cols / self.groups;
        must("rms_norm", self.rest < cols, "nothing of a group is normalised");
        let cols = cols - self.rest;
        must("rms_norm", inputs.get(1).is_none_or(|w| w.cols == cols), "group and weight differ in length");
        inputs[0]
    }

    pub(super) fn reference(&self, _: &Step, inputs: &[Value<'_>], out: &mut [f32]) {
        let (x, cols) = inputs[0].rows();
        let stretch = cols / self.groups;
        let cols = stretch - self.rest;
        let w = inputs.get(1).map_or(vec![1.0; cols], |w| w.weight().vector());
        for (x, y) in x.chunks_exact(stretch).zip(out.chunks_exact_mut(stretch)) {
            y[cols..].copy_from_slice(&x[cols..]);
            let x = &x[..cols];
            let square: f64 = x.iter().map(|&v| v as f64 * v as f64).sum();
            let scale = 1.0 / (square / cols as f64 + self.eps as f64).sqrt();
            for ((y, &x), &w) in y.iter_mut().zip(x).zip(&w) {
                *y = (x as f64 * scale) as f32 * w;
            }
        }
    }
}
