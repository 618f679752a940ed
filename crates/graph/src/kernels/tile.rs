//! The inner loop of matrix products: a few rows of w times panels of sixteen rows of x, whose sums stay in registers.

// Several arrays go side by side: an index says so, and compilers unroll it.
#![allow(clippy::needless_range_loop)]

use super::lanes::{LANES, Lanes};

/// Rows of w whose products [`tiles`] finds at a time, at most: a block of w should be a multiple.
pub(super) const ROWS: usize = 8;

/// A matrix `[rows][k]` of numbers anywhere in a slice.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    /// The slice.
    pub data: &'a [f32],
    /// Distance from a row to the next one.
    pub row: usize,
    /// Distance from a number of a row to the next one.
    pub step: usize,
    /// The number of rows.
    pub rows: usize,
}

/// y[r][p] (+)= Σ over i of w[r][i] · x[p][i], for panels x that are `[k]` times sixteen rows: y is `[rows][panels]` of sixteen.
/// Adds to y where `add`, overwrites it otherwise. Rows of y are `stride` panels apart. A sum over k is one chain of f32.
///
/// # Safety
/// The machine must have the instructions of `V`.
#[inline(always)]
pub(super) unsafe fn tiles<V: Lanes>(
    w: Matrix<'_>,
    k: usize,
    x: &[&[[f32; LANES]]],
    y: &mut [[f32; LANES]],
    stride: usize,
    add: bool,
) {
    // SAFETY: the caller's.
    unsafe {
        if V::WIDE {
            let mut p = 0;
            while p + 2 <= x.len() {
                rows::<V, 8, 2>(w, k, &[x[p], x[p + 1]], &mut y[p..], stride, add);
                p += 2;
            }
            if p < x.len() {
                rows::<V, 8, 1>(w, k, &[x[p]], &mut y[p..], stride, add);
            }
        } else {
            for (p, x) in x.iter().enumerate() {
                rows::<V, 4, 1>(w, k, &[x], &mut y[p..], stride, add);
            }
        }
    }
}

/// All rows of w, `R` at a time, with `P` panels; the odd rows at the end one by one.
#[inline(always)]
unsafe fn rows<V: Lanes, const R: usize, const P: usize>(
    w: Matrix<'_>,
    k: usize,
    x: &[&[[f32; LANES]]; P],
    y: &mut [[f32; LANES]],
    stride: usize,
    add: bool,
) {
    // SAFETY: the caller's.
    unsafe {
        let mut r = 0;
        while r + R <= w.rows {
            tile::<V, R, P>(w, r, k, x, &mut y[r * stride..], stride, add);
            r += R;
        }
        while r < w.rows {
            tile::<V, 1, P>(w, r, k, x, &mut y[r * stride..], stride, add);
            r += 1;
        }
    }
}

#[inline(always)]
unsafe fn tile<V: Lanes, const R: usize, const P: usize>(
    w: Matrix<'_>,
    first: usize,
    k: usize,
    x: &[&[[f32; LANES]]; P],
    y: &mut [[f32; LANES]],
    stride: usize,
    add: bool,
) {
    let at = first * w.row;
    assert!(k == 0 || at + (R - 1) * w.row + (k - 1) * w.step < w.data.len(), "tile: w is too short");
    for x in x {
        assert!(x.len() >= k, "tile: x is too short");
    }
    assert!((R - 1) * stride + P <= y.len(), "tile: y is too short");
    // SAFETY: the largest index of each slice was just found to be inside it.
    unsafe {
        let mut sums = [[V::splat(0.0); P]; R];
        for i in 0..k {
            let mut xs = [V::splat(0.0); P];
            for p in 0..P {
                xs[p] = V::load(x[p].get_unchecked(i));
            }
            for r in 0..R {
                let w = V::splat(*w.data.get_unchecked(at + r * w.row + i * w.step));
                for p in 0..P {
                    sums[r][p] = sums[r][p].add_product(w, xs[p]);
                }
            }
        }
        for r in 0..R {
            for p in 0..P {
                let y = y.get_unchecked_mut(r * stride + p);
                let sum = if add { V::load(y).add(sums[r][p]) } else { sums[r][p] };
                sum.store(y);
            }
        }
    }
}
