//! y[r, g, c] = norm(x)[r, g, c] · silu(z[r, g, c]), or norm(x · silu(z))[r, g, c], norm the RMS norm of each group of a row:
//! x[r, g, c] · w[c] / sqrt(mean over c of x[r, g, c]² + eps), where w may also be as long as a row.      Dao & Gu 2024, arXiv 2405.21060

use crate::graph::{Shape, Step};
use crate::ops::{Activation, Value, must};

/// A root-mean-square norm of each group of a row, and a gate in front of it or behind it. Inputs are x, z and the weight.
#[derive(Clone, Debug, PartialEq)]
pub struct GatedNorm {
    /// Added to the mean square.
    pub eps: f32,
    /// Stretches of a row that are normalised on their own.
    pub groups: usize,
    /// Whether the gate comes in front of the norm.
    pub gate_first: bool,
}

impl GatedNorm {
    pub(super) fn bound(&self) -> f64 {
        1e-7
    }

    pub(super) fn shape(&self, inputs: &[Shape]) -> Shape {
        let [x, z, w] = inputs else { panic!("gated_norm: three inputs were expected") };
        must("gated_norm", x == z, "x and gate differ in shape");
        must("gated_norm", x.cols.is_multiple_of(self.groups), "a row is not whole groups");
        must(
            "gated_norm",
            w.cols == x.cols / self.groups || w.cols == x.cols,
            "the weight is of another length",
        );
        *x
    }

    pub(super) fn reference(&self, _: &Step, inputs: &[Value<'_>], out: &mut [f32]) {
        let ((x, cols), (z, _)) = (inputs[0].rows(), inputs[1].rows());
        let w = inputs[2].weight().vector();
        let each = cols / self.groups;
        let silu = |z: f32| Activation::Silu.of(z);
        for (at, y) in out.chunks_exact_mut(each).enumerate() {
            let (x, z) = (&x[at * each..][..each], &z[at * each..][..each]);
            let first = if w.len() == cols { at % self.groups * each } else { 0 };
            let of = |(&x, &z): (&f32, &f32)| if self.gate_first { x * silu(z) } else { x };
            let square: f64 = x.iter().zip(z).map(of).map(|v| v as f64 * v as f64).sum();
            let scale = 1.0 / (square / each as f64 + self.eps as f64).sqrt();
            for (c, y) in y.iter_mut().enumerate() {
                let normed = (of((&x[c], &z[c])) as f64 * scale) as f32 * w[first + c];
                *y = if self.gate_first { normed } else { normed * silu(z[c]) };
            }
        }
    }
}
