//! y[r, g, n] = Σ over c of x[r, g, c] · w[g, n, c], for each stretch g of a row a matrix of its own

use crate::graph::{Rows, Shape, Step};
use crate::ops::{Value, must};

/// The products of a row's stretches with a matrix each: inputs are x and the weights `[groups · n, cols]`. What of a stretch lies behind its first
/// `cols` numbers is not multiplied.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupLinear {
    /// Stretches of a row.
    pub groups: usize,
    /// Whether what is not multiplied follows the product of its stretch, as it is.
    pub keep_rest: bool,
}

impl GroupLinear {
    /// Rows of one matrix.
    pub fn rows(&self, weight: Shape) -> usize {
        match weight.rows {
            Rows::Of(rows) => rows / self.groups,
            _ => panic!("group_linear: the second input is no weight"),
        }
    }

    /// Numbers behind a product.
    pub fn rest(&self, x: Shape, weight: Shape) -> usize {
        if self.keep_rest { x.cols / self.groups - weight.cols } else { 0 }
    }

    pub(super) fn bound(&self) -> f64 {
        1e-7
    }

    pub(super) fn shape(&self, inputs: &[Shape]) -> Shape {
        let [x, w] = [inputs[0], inputs[1]];
        must(
            "group_linear",
            w.rows == Rows::Of(self.rows(w) * self.groups),
            "the rows are not whole matrices",
        );
        must(
            "group_linear",
            x.cols.is_multiple_of(4 * self.groups),
            "a row is not stretches of vectors of four",
        );
        must("group_linear", w.cols.is_multiple_of(4), "a matrix has no vectors of four");
        must(
            "group_linear",
            w.cols <= x.cols / self.groups,
            "a stretch is shorter than the rows of its matrix",
        );
        Shape { rows: x.rows, cols: self.groups * (self.rows(w) + self.rest(x, w)) }
    }

    pub(super) fn reference(&self, _: &Step, inputs: &[Value<'_>], out: &mut [f32]) {
        let (w, (x, cols)) = (inputs[1].weight(), inputs[0].rows());
        let (n, stretch) = (w.rows() / self.groups, cols / self.groups);
        let size = n + if self.keep_rest { stretch - w.cols } else { 0 };
        let mut weights = vec![0.0; w.cols];
        for (at, (x, y)) in x.chunks_exact(stretch).zip(out.chunks_exact_mut(size)).enumerate() {
            let (products, rest) = y.split_at_mut(n);
            for (j, y) in products.iter_mut().enumerate() {
                w.decode(at % self.groups * n + j, &mut weights);
                *y = x.iter().zip(&weights).map(|(&x, &w)| x as f64 * w as f64).sum::<f64>() as f32;
            }
            rest.copy_from_slice(&x[w.cols..][..size - n]);
        }
    }
}
