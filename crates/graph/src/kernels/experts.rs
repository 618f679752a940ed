//! Products of rows with the experts that their routes name, and of stretches of rows with a matrix each: dot products with the stored weights, spread
//! over the threads.

use rayon::prelude::*;

use crate::ops::{ExpertLinear, GroupLinear, Value, routed};

/// The fewest results that are worth a task of their own.
const SPLIT: usize = 16;

/// `out` is `[rows][used][n]`.
pub(super) fn expert_linear(op: &ExpertLinear, inputs: &[Value<'_>], out: &mut [f32]) {
    let w = inputs[1].weight();
    let n = w.rows() / op.experts;
    let bias = inputs.get(3).map(|b| b.weight().vector());
    out.par_iter_mut().with_min_len(SPLIT).enumerate().for_each(|(at, y)| {
        let (r, k, j) = (at / (op.used * n), at / n % op.used, at % n);
        let Some((expert, weight)) = routed(inputs[2].row(r)).nth(k) else { return };
        let x = inputs[0].row(r);
        let x = if x.len() == w.cols { x } else { &x[k * w.cols..][..w.cols] };
        let row = expert * n + j;
        let weight = if op.weighted { weight } else { 1.0 };
        *y = weight * w.dot(row, x) + bias.as_ref().map_or(0.0, |b| b[row]);
    });
}

/// `out` is `[rows][groups][n + rest]`.
pub(super) fn group_linear(op: &GroupLinear, inputs: &[Value<'_>], out: &mut [f32]) {
    let (w, (x, cols)) = (inputs[1].weight(), inputs[0].rows());
    let (n, stretch) = (w.rows() / op.groups, cols / op.groups);
    let size = n + if op.keep_rest { stretch - w.cols } else { 0 };
    out.par_iter_mut().with_min_len(SPLIT).enumerate().for_each(|(at, y)| {
        let (nth, j) = (at / size, at % size);
        let x = &x[nth * stretch..][..stretch];
        *y = match j < n {
            true => w.dot(nth % op.groups * n + j, &x[..w.cols]),
            false => x[w.cols + j - n],
        };
    });
}
