//! y[r, k, n] = Σ over c of x[r, c] · w[e, n, c]  (· weight[r, k])  (+ b[e, n]), e the k-th expert of row r; or of x[r, k, c], where each
//! expert has its own

use crate::graph::{Rows, Shape, Step};
use crate::ops::route::routed;
use crate::ops::{Value, must};

/// The products of rows with the experts that a route names: inputs are x, the weights `[experts · n, cols]`, the route, and maybe a bias
/// `[experts, n]` as one row. The result of a row is that of its first expert, then of its second, and so on.
#[derive(Clone, Debug, PartialEq)]
pub struct ExpertLinear {
    /// Experts that there are.
    pub experts: usize,
    /// Experts that a row goes to.
    pub used: usize,
    /// Whether products are multiplied by the route's weights: as if x had been.
    pub weighted: bool,
}

impl ExpertLinear {
    /// Rows of one expert.
    pub fn rows(&self, weight: Shape) -> usize {
        match weight.rows {
            Rows::Of(rows) => rows / self.experts,
            _ => panic!("expert_linear: the second input is no weight"),
        }
    }

    pub(super) fn bound(&self) -> f64 {
        1e-7
    }

    pub(super) fn shape(&self, inputs: &[Shape]) -> Shape {
        let [x, w, route] = [inputs[0], inputs[1], inputs[2]];
        let n = self.rows(w);
        must("expert_linear", w.rows == Rows::Of(n * self.experts), "the rows are not whole experts");
        must("expert_linear", route.cols == 2 * self.used, "the route is of another number of experts");
        let fits = x.cols == w.cols || x.cols == self.used * w.cols;
        must("expert_linear", fits, "x and weight differ in their columns");
        must("expert_linear", w.cols.is_multiple_of(4), "an expert's part of x is no vectors of four");
        let bias = inputs.get(3).is_none_or(|b| b.cols == n * self.experts);
        must("expert_linear", bias, "the bias is not as long as the weight has rows");
        Shape { rows: x.rows, cols: self.used * n }
    }

    pub(super) fn reference(&self, _: &Step, inputs: &[Value<'_>], out: &mut [f32]) {
        let w = inputs[1].weight();
        let n = w.rows() / self.experts;
        let bias = inputs.get(3).map(|b| b.weight().vector());
        let mut weights = vec![0.0; w.cols];
        for (at, y) in out.chunks_exact_mut(n).enumerate() {
            let (r, k) = (at / self.used, at % self.used);
            let Some((expert, weight)) = routed(inputs[2].row(r)).nth(k) else { continue };
            let x = inputs[0].row(r);
            let x = if x.len() == w.cols { x } else { &x[k * w.cols..][..w.cols] };
            for (j, y) in y.iter_mut().enumerate() {
                let row = expert * n + j;
                w.decode(row, &mut weights);
                let product: f64 = x.iter().zip(&weights).map(|(&x, &w)| x as f64 * w as f64).sum();
                let product = product * if self.weighted { weight as f64 } else { 1.0 };
                *y = product as f32 + bias.as_ref().map_or(0.0, |b| b[row]);
            }
        }
    }
}
