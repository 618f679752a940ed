//! y[r, n] = Σ over c of x[r, c] · w[n, c]  (+ b[n])

use rayon::prelude::*;

use crate::formats::dot;
use crate::graph::{Shape, Step};
use crate::ops::{Value, must};

/// A matrix product with a weight `[n, cols]`, and a bias where there is a third input.
#[derive(Clone, Debug, PartialEq)]
pub struct Linear;

/// As many rows of x as a stored row of weights is multiplied with directly: decoding it costs about as much as that.
const FEW: usize = 2;
/// The fewest weight rows that are worth a task of their own.
const SPLIT: usize = 16;

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

    /// Weight rows are spread over the cores. Each is multiplied as it is stored with a few rows of x; for more of them it
    /// is decoded once.
    pub(super) fn reference(&self, _: &Step, inputs: &[Value<'_>], out: &mut [f32]) {
        let (x, cols) = inputs[0].rows();
        let w = inputs[1].weight();
        let bias = inputs.get(2).map(|b| b.weight().vector());
        let (rows, n) = (x.len() / cols, w.rows());
        let mut columns = vec![0.0f32; rows * n]; // [n][rows]
        columns.par_chunks_mut(rows.max(1)).with_min_len(SPLIT).enumerate().for_each_init(
            || vec![0.0f32; cols],
            |row, (j, column)| {
                if rows > FEW {
                    w.decode(j, row);
                }
                for (x, y) in x.chunks_exact(cols).zip(column) {
                    let product = if rows > FEW { dot(x, row) } else { w.dot(j, x) };
                    *y = product + bias.as_ref().map_or(0.0, |b| b[j]);
                }
            },
        );
        for (r, y) in out.chunks_exact_mut(n).enumerate() {
            for (j, y) in y.iter_mut().enumerate() {
                *y = columns[j * rows + r];
            }
        }
    }
}
