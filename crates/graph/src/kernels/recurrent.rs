//! The recurrences of heads with a matrix as their state: the gated delta rule and Mamba-2's.
//!
//! A head of one slot's rows is a task. Columns of its matrix do not depend on each other, so that each goes along all rows before the next
//! one begins; what a row needs of it, two products, is summed up at once, as in `wgsl/recurrent.wgsl`.

// Several arrays go side by side: an index says so, and compilers unroll it.
#![allow(clippy::needless_range_loop)]

use rayon::prelude::*;

use super::lanes::{Instructions, Kernel, LANES, Lanes};
use crate::graph::Step;
use crate::ops::{DeltaRule, Ssd, Value};

/// What a row says with one head of k and of q, which several heads of v may share; padded with zeros to whole lanes.
struct Pair {
    k: Vec<[f32; LANES]>,
    q: Vec<[f32; LANES]>,
    /// k · q
    both: f32,
}

impl Pair {
    fn new([k, q]: [&[f32]; 2], [of_k, of_q]: [f32; 2]) -> Pair {
        let (k, q) = (padded(k, of_k), padded(q, of_q));
        Pair { both: dot(&k, &q), k, q }
    }
}

/// What a row says to a head.
struct Row<'a> {
    v: &'a [f32],
    /// The factor of what the state was.
    keep: f32,
    /// The share of v, or of what v differs from what the state says, that goes into it.
    share: f32,
    /// The share of v in the result.
    through: f32,
}

/// See [`DeltaRule`].
pub(super) fn delta_rule(
    instructions: Instructions,
    op: &DeltaRule,
    step: &Step,
    inputs: &[Value<'_>],
    out: &mut [f32],
) {
    let w = op.width;
    let (decay, bias) = (inputs[3].weight().vector(), inputs[4].weight().vector());
    let pair = |r: usize, g: usize| {
        let x = inputs[0].row(r);
        let (q, k) = (&x[g * w..][..w], &x[(op.k_heads + g) * w..][..w]);
        let length = |x: &[f32]| x.iter().map(|&x| x as f64 * x as f64).sum::<f64>() + op.eps as f64;
        let factors = [1.0 / length(k).sqrt(), 1.0 / (length(q) * w as f64).sqrt()];
        Pair::new([k, q], factors.map(|factor| factor as f32))
    };
    let row = |r: usize, h: usize| {
        let [keep, share] = op.gates(inputs, [&decay, &bias], r, h);
        let v = &inputs[0].row(r)[(2 * op.k_heads + h) * w..][..w];
        Row { v, keep, share, through: 0.0 }
    };
    let groups = (op.k_heads, |h: usize| h % op.k_heads);
    heads(instructions, true, [op.v_heads, w, w], step, inputs, groups, &pair, &row, out);
}

/// See [`Ssd`].
pub(super) fn ssd(instructions: Instructions, op: &Ssd, step: &Step, inputs: &[Value<'_>], out: &mut [f32]) {
    let [decay, bias, through] = [2, 3, 4].map(|i: usize| inputs[i].weight().vector());
    let pair = |r: usize, g: usize| {
        let b_and_c = &inputs[0].row(r)[op.heads * op.width..];
        let part = |n: usize| &b_and_c[n * op.state..][..op.state];
        Pair::new([part(g), part(op.groups + g)], [1.0; 2])
    };
    let row = |r: usize, h: usize| {
        let [keep, share] = op.gates(inputs[1].row(r)[h] + bias[h], decay[h]);
        let v = &inputs[0].row(r)[h * op.width..][..op.width];
        Row { v, keep, share, through: through[h] }
    };
    let groups = (op.groups, |h: usize| h / (op.heads / op.groups));
    heads(instructions, false, [op.heads, op.width, op.state], step, inputs, groups, &pair, &row, out);
}

fn padded(x: &[f32], factor: f32) -> Vec<[f32; LANES]> {
    let lanes = |x: &[f32]| {
        let mut lanes = [0.0; LANES];
        lanes.iter_mut().zip(x).for_each(|(lane, x)| *lane = factor * x);
        lanes
    };
    x.chunks(LANES).map(lanes).collect()
}

fn dot(a: &[[f32; LANES]], b: &[[f32; LANES]]) -> f32 {
    a.as_flattened().iter().zip(b.as_flattened()).map(|(a, b)| a * b).sum()
}

/// Goes along the rows of each slot with all heads, of `rows` columns of `cols` numbers. `groups`: how many heads of k there are, and which
/// is whose.
#[allow(clippy::too_many_arguments)] // What two ops differ by.
fn heads<'a>(
    instructions: Instructions,
    delta: bool,
    [heads, rows, cols]: [usize; 3],
    step: &Step,
    inputs: &[Value<'a>],
    (groups, group): (usize, impl Fn(usize) -> usize + Sync),
    pair: &(impl Fn(usize, usize) -> Pair + Sync),
    row: &(impl Fn(usize, usize) -> Row<'a> + Sync),
    out: &mut [f32],
) {
    let mut states = inputs[inputs.len() - 1].states().lock();
    let numbers = heads * rows * cols;
    for run in step.runs() {
        let first = step.rows[run.start];
        let state = &mut states[first.slot as usize * numbers..][..numbers];
        if first.position == 0 {
            state.fill(0.0);
        }
        let pairs: Vec<Vec<Pair>> =
            (0..groups).into_par_iter().map(|g| run.clone().map(|r| pair(r, g)).collect()).collect();
        let results: Vec<Vec<f32>> = state
            .par_chunks_mut(rows * cols)
            .enumerate()
            .map(|(h, state)| {
                let said: Vec<Row<'_>> = run.clone().map(|r| row(r, h)).collect();
                let pairs = &pairs[group(h)];
                let mut results = vec![0.0; said.len() * rows];
                instructions.run(Head { delta, rows: &said, pairs, cols, state, results: &mut results });
                results
            })
            .collect();
        for (h, results) in results.iter().enumerate() {
            for (r, results) in run.clone().zip(results.chunks_exact(rows)) {
                out[(r * heads + h) * rows..][..rows].copy_from_slice(results);
            }
        }
    }
}

/// A head along rows; `state` is its columns, one behind the other, `results` are `[rows][columns]`.
struct Head<'a, 'b> {
    delta: bool,
    rows: &'b [Row<'a>],
    pairs: &'b [Pair],
    cols: usize,
    state: &'b mut [f32],
    results: &'b mut [f32],
}

impl Kernel for Head<'_, '_> {
    #[inline(always)]
    unsafe fn run<V: Lanes>(self) {
        let Head { delta, rows, pairs, cols, state, results } = self;
        let columns = state.len() / cols;
        let mut s = vec![[0.0; LANES]; cols.div_ceil(LANES)];
        for (j, column) in state.chunks_exact_mut(cols).enumerate() {
            s.as_flattened_mut()[..cols].copy_from_slice(column);
            for (r, (row, pair)) in rows.iter().zip(pairs).enumerate() {
                // SAFETY: the caller's.
                let [of_k, of_q] = unsafe {
                    let mut sums = [V::splat(0.0); 2];
                    for i in 0..s.len() {
                        let state = V::load(&s[i]);
                        sums[0] = sums[0].add_product(state, V::load(&pair.k[i]));
                        sums[1] = sums[1].add_product(state, V::load(&pair.q[i]));
                    }
                    sums.map(|sum| {
                        let mut lanes = [0.0; LANES];
                        sum.store(&mut lanes);
                        lanes.iter().sum::<f32>()
                    })
                };
                let v = row.v[j];
                let change = row.share * if delta { v - row.keep * of_k } else { v };
                // SAFETY: the caller's.
                unsafe {
                    let (keep, change) = (V::splat(row.keep), V::splat(change));
                    for i in 0..s.len() {
                        let kept = V::splat(0.0).add_product(keep, V::load(&s[i]));
                        kept.add_product(change, V::load(&pair.k[i])).store(&mut s[i]);
                    }
                }
                results[r * columns + j] = row.keep * of_q + pair.both * change + row.through * v;
            }
            column.copy_from_slice(&s.as_flattened()[..cols]);
        }
    }
}
