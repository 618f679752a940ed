//! Products of int8 by ARM's dot products.

// Several arrays go side by side: an index says so, and compilers unroll it.
#![allow(clippy::needless_range_loop)]

use std::arch::aarch64::*;
use std::arch::asm;

use super::{Coded, Codes, GROUPS, LANES};

/// Rows of weights whose sums fit into registers.
pub(super) const ROWS: usize = 4;

/// Vectors of sixteen rows of x.
const PARTS: usize = LANES / 4;

/// y[r] (+)= the products of row r of R rows of weights, [`GROUPS`] apart, with x; rows of y are `stride` apart.
#[target_feature(enable = "dotprod")]
pub(super) fn tile<const R: usize, const ONE_SCALE: bool, const AFFINE: bool>(
    w: &[Coded],
    x: &[Codes],
    y: &mut [[f32; LANES]],
    stride: usize,
    add: bool,
) {
    assert!((R - 1) * GROUPS + x.len() <= w.len() && (R - 1) * stride < y.len());
    let mut sums = [[vdupq_n_f32(0.0); PARTS]; R];
    for (g, x) in x.iter().enumerate() {
        let mut coded = [&w[0]; R];
        for r in 0..R {
            coded[r] = &w[r * GROUPS + g];
        }
        let mut products = [[vdupq_n_s32(0); PARTS]; R];
        halves::<R, 0>(&coded, x, &mut products);
        if !ONE_SCALE {
            scale(&coded, 0, x, &products, &mut sums);
            products = [[vdupq_n_s32(0); PARTS]; R];
        }
        halves::<R, 1>(&coded, x, &mut products);
        scale(&coded, if ONE_SCALE { 0 } else { 1 }, x, &products, &mut sums);
        if AFFINE {
            for r in 0..R {
                for half in 0..2 {
                    for p in 0..PARTS {
                        let minimum = coded[r].group.minimum[half];
                        sums[r][p] = vfmsq_n_f32(sums[r][p], load(&x.sums[half], p), minimum);
                    }
                }
            }
        }
    }
    for r in 0..R {
        let y = &mut y[r * stride];
        for p in 0..PARTS {
            let sum = if add { vaddq_f32(load(y, p), sums[r][p]) } else { sums[r][p] };
            // SAFETY: 16 numbers are four times 4.
            unsafe { vst1q_f32(y.as_mut_ptr().add(4 * p), sum) };
        }
    }
}

/// Adds the products of the first or of the last sixteen weights of a group.
#[inline]
#[target_feature(enable = "dotprod")]
fn halves<const R: usize, const HALF: usize>(
    coded: &[&Coded; R],
    x: &Codes,
    products: &mut [[int32x4_t; PARTS]; R],
) {
    let mut w = [vdupq_n_s8(0); R];
    for r in 0..R {
        // SAFETY: 32 weights are two times 16.
        w[r] = unsafe { vld1q_s8(coded[r].group.q.as_ptr().add(16 * HALF)) };
    }
    four::<R, 0>(&w, &x.q[4 * HALF], products);
    four::<R, 1>(&w, &x.q[4 * HALF + 1], products);
    four::<R, 2>(&w, &x.q[4 * HALF + 2], products);
    four::<R, 3>(&w, &x.q[4 * HALF + 3], products);
}

/// Adds the products of the n-th four of the weights.
#[inline]
#[target_feature(enable = "dotprod")]
fn four<const R: usize, const N: i32>(
    w: &[int8x16_t; R],
    x: &[[u8; 4]; LANES],
    products: &mut [[int32x4_t; PARTS]; R],
) {
    for p in 0..PARTS {
        // SAFETY: 16 times 4 bytes are four times 16.
        let x = unsafe { vld1q_s8(x.as_ptr().cast::<i8>().add(16 * p)) };
        for r in 0..R {
            // SAFETY: the machine has the instruction, for which there is no stable function yet; registers alone are read and written.
            unsafe {
                asm!(
                    "sdot {sums:v}.4s, {x:v}.16b, {w:v}.4b[{n}]",
                    sums = inout(vreg) products[r][p],
                    x = in(vreg) x,
                    w = in(vreg) w[r],
                    n = const N,
                    options(pure, nomem, nostack, preserves_flags)
                );
            }
        }
    }
}

/// Adds products, times the scales of x and of the weights.
#[inline]
#[target_feature(enable = "dotprod")]
fn scale<const R: usize>(
    coded: &[&Coded; R],
    half: usize,
    x: &Codes,
    products: &[[int32x4_t; PARTS]; R],
    sums: &mut [[float32x4_t; PARTS]; R],
) {
    for p in 0..PARTS {
        let of_x = load(&x.scale, p);
        for r in 0..R {
            let scaled = vmulq_f32(vcvtq_f32_s32(products[r][p]), of_x);
            sums[r][p] = vfmaq_n_f32(sums[r][p], scaled, coded[r].group.scale[half]);
        }
    }
}

#[inline]
#[target_feature(enable = "dotprod")]
fn load(x: &[f32; LANES], part: usize) -> float32x4_t {
    // SAFETY: 16 numbers are four times 4.
    unsafe { vld1q_f32(x.as_ptr().add(4 * part)) }
}
