//! y[r, n] = Σ over c of x[r, c] · w[n, c]  (+ b[n])

use rayon::prelude::*;

use crate::graph::{Shape, Step};
use crate::ops::{Dispatch, Extent, Op, Value, must};

/// A matrix product with a weight `[n, cols]`, and a bias where there is a third input.
#[derive(Debug)]
pub struct Linear;

/// Rows and columns of y that one workgroup of `matmul` computes.
pub const TILE: u32 = 64;

impl Op for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn matrix_input(&self) -> Option<usize> {
        Some(1)
    }

    fn bound(&self) -> f64 {
        1e-7
    }

    fn shape(&self, inputs: &[Shape]) -> Shape {
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

    fn constants(&self, inputs: &[Shape]) -> Vec<(&'static str, f64)> {
        let out = self.shape(inputs);
        vec![
            ("COLS", inputs[0].cols as f64),
            ("STRIDE", inputs[0].stride() as f64),
            ("N", out.cols as f64),
            ("OUT_STRIDE", out.stride() as f64),
            ("BIAS", (inputs.len() == 3) as u32 as f64),
        ]
    }

    /// Every weight row is decoded once and multiplied with all rows of x; weight rows are spread over the cores.
    fn reference(&self, _: &Step, inputs: &[Value<'_>], out: &mut [f32]) {
        let (x, cols) = inputs[0].rows();
        let w = inputs[1].weight();
        let bias = inputs.get(2).map(|b| b.weight().vector());
        let (rows, n) = (x.len() / cols, w.rows());
        let mut columns = vec![0.0f32; rows * n]; // [n][rows]
        columns.par_chunks_mut(rows.max(1)).enumerate().for_each_init(
            || vec![0.0f32; cols],
            |row, (j, column)| {
                w.decode(j, row);
                for (r, y) in column.iter_mut().enumerate() {
                    *y = dot(&x[r * cols..][..cols], row) + bias.as_ref().map_or(0.0, |b| b[j]);
                }
            },
        );
        for (r, y) in out.chunks_exact_mut(n).enumerate() {
            for (j, y) in y.iter_mut().enumerate() {
                *y = columns[j * rows + r];
            }
        }
    }

    fn dispatch(&self, inputs: &[Shape], out: Shape) -> Dispatch {
        let x = (out.cols as u32).div_ceil(TILE);
        Dispatch {
            kernel: "matmul",
            constants: self.constants(inputs),
            extent: Extent::Tiles { rows: out.rows, tile: TILE, x },
        }
    }
}

/// Σ a·b in f32, in sixteen sums side by side: as exact as a pairwise sum of that width, and the compiler makes vectors of it.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0f32; 16];
    let (a, b) = (a.chunks_exact(16), b.chunks_exact(16));
    let tail: f64 = a.remainder().iter().zip(b.remainder()).map(|(&a, &b)| a as f64 * b as f64).sum();
    for (a, b) in a.zip(b) {
        for ((s, &a), &b) in sums.iter_mut().zip(a).zip(b) {
            *s += a * b;
        }
    }
    (sums.iter().map(|&s| s as f64).sum::<f64>() + tail) as f32
}
