//! y[r, n] = Σ over c of x[r, c] · w[n, c]  (+ b[n])

use crate::graph::{Shape, Step};
use crate::ops::{Value, must};

/// A matrix product with a weight `[n, cols]`, and a bias where there is a third input.
#[derive(Clone, Debug, PartialEq)]
pub struct Linear;

impl Linear {
    pub(super) fn bound(&self) -> f64 {
        1e-7
    }

    pub(super) fn shape(&self, inputs: &[Shape]) -> Shape {
        let [x, w] = [inputs[0], inputs[1]];
        must("linear", x.cols == w.cols, "x and weight differ in their columns");
        let crate::graph::Rows::Of(n) = w.rows else { panic!("linear: the second input is no weight") };
        must(
            "linear",
            inputs.get(2).is_none_or(|b| b.cols == n),
            "the bias is not as long as the weight has rows",
        );
        Shape { rows: x.rows, cols: n }
    }

    pub(super) fn reference(&self, _: &Step, inputs: &[Value<'_>], out: &mut [f32]) {
        let (x, cols) = inputs[0].rows();
        let w = inputs[1].weight();
        let bias = inputs.get(2).map(|b| b.weight().vector());
        let n = w.rows();
        let mut weights = vec![0.0; cols];
        for j in 0..n {
            w.decode(j, &mut weights);
            for (x, y) in x.chunks_exact(cols).zip(out.chunks_exact_mut(n)) {
                let product: f64 = x.iter().zip(&weights).map(|(&x, &w)| x as f64 * w as f64).sum();
                y[j] = product as f32 + bias.as_ref().map_or(0.0, |b| b[j]);
            }
        }
    }
}
