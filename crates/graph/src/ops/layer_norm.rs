//! y[r, c] = (x[r, c] − mean) / sqrt(variance + eps) · w[c] + b[c], mean and variance over row r      Ba et al. 2016, arXiv 1607.06450

use crate::graph::{Shape, Step};
use crate::ops::{Value, must};

/// Normalisation of each row to mean 0 and variance 1, then scale, and bias where there is a third input.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerNorm {
    /// Added to the variance.
    pub eps: f32,
}

impl LayerNorm {
    pub(super) fn bound(&self) -> f64 {
        1e-7
    }

    pub(super) fn shape(&self, inputs: &[Shape]) -> Shape {
        let cols = inputs[0].cols;
        must(
            "layer_norm",
            inputs[1..].iter().all(|w| w.cols == cols),
            "x, weight and bias differ in their columns",
        );
        inputs[0]
    }

    pub(super) fn reference(&self, _: &Step, inputs: &[Value<'_>], out: &mut [f32]) {
        let (x, cols) = inputs[0].rows();
        let w = inputs[1].weight().vector();
        let b = inputs.get(2).map_or(vec![0.0; cols], |b| b.weight().vector());
        for (x, y) in x.chunks_exact(cols).zip(out.chunks_exact_mut(cols)) {
            let mean = x.iter().map(|&v| v as f64).sum::<f64>() / cols as f64;
            let variance = x.iter().map(|&v| (v as f64 - mean).powi(2)).sum::<f64>() / cols as f64;
            let scale = 1.0 / (variance + self.eps as f64).sqrt();
            for (c, y) in y.iter_mut().enumerate() {
                *y = ((x[c] as f64 - mean) * scale) as f32 * w[c] + b[c];
            }
        }
    }
}
