//! y[r, c] = x[r, c] · w[c] / sqrt(mean over c of x[r, c]² + eps)      Zhang & Sennrich 2019, arXiv 1910.07467

use crate::graph::{Shape, Step};
use crate::ops::{Value, must};

/// Root-mean-square normalisation of each row.
#[derive(Clone, Debug, PartialEq)]
pub struct RmsNorm {
    /// Added to the mean square.
    pub eps: f32,
}

impl RmsNorm {
    pub(super) fn bound(&self) -> f64 {
        1e-7
    }

    pub(super) fn shape(&self, inputs: &[Shape]) -> Shape {
        must("rms_norm", inputs[0].cols == inputs[1].cols, "x and weight differ in their columns");
        inputs[0]
    }

    pub(super) fn reference(&self, _: &Step, inputs: &[Value<'_>], out: &mut [f32]) {
        let (x, cols) = inputs[0].rows();
        let w = inputs[1].weight().vector();
        for (x, y) in x.chunks_exact(cols).zip(out.chunks_exact_mut(cols)) {
            let square: f64 = x.iter().map(|&v| v as f64 * v as f64).sum();
            let scale = 1.0 / (square / cols as f64 + self.eps as f64).sqrt();
            for ((y, &x), &w) in y.iter_mut().zip(x).zip(&w) {
                *y = (x as f64 * scale) as f32 * w;
            }
        }
    }
}
