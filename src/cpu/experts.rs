//! Products of rows with the experts that their routes name: dot products with the stored weights, spread over the threads.

use rayon::prelude::*;

use crate::ops::{ExpertLinear, Value, routed};

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
