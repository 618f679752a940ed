//! Products in int8: x rounded to int8 with a scale for each 32 numbers of a row, weights as the small integers that they are stored as, sums of
//! 16 or 32 products exact in i32.
//!
//! A few rows are multiplied with the weights as they are stored, one by one; many in panels, which takes an instruction that multiplies and adds
//! four bytes at a time. It is not for formats that store floats.

// Several arrays go side by side: an index says so, and compilers unroll it.
#![allow(clippy::needless_range_loop)]

use rayon::prelude::*;

use super::lanes::{Instructions, Kernel, LANES, Lanes};
use super::linear::{BLOCK, DEPTH, SPLIT, Scratch, block_of, grow, part, unpack};
use crate::formats::{ByteRow, GROUP, Group, Groups, multiplies_bytes};
use crate::ops::WeightRows;

/// Groups that are decoded at a time.
const GROUPS: usize = DEPTH / GROUP;

/// 32 numbers of each of sixteen rows.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Codes {
    /// `[four][row][number of the four]`, each [`OFFSET`] more than it stands for.
    q: [[[u8; 4]; LANES]; GROUP / 4],
    /// What the integers are multiplied with.
    scale: [f32; LANES],
    /// Sums of the first and of the last sixteen numbers, before rounding.
    sums: [[f32; LANES]; 2],
}

/// x86 multiplies u8 by i8, ARM i8 by i8.
const OFFSET: u8 = if cfg!(target_arch = "aarch64") { 0 } else { 128 };

impl Default for Codes {
    fn default() -> Codes {
        Codes { q: [[[OFFSET; 4]; LANES]; GROUP / 4], scale: [0.0; LANES], sums: [[0.0; LANES]; 2] }
    }
}

/// A group of weights, and −[`OFFSET`] · Σ q of each half, which takes back what the codes of x are too large by.
#[derive(Clone, Copy)]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
struct Coded {
    group: Group,
    base: [i32; 2],
}

/// Whether the machine has instructions for a few rows.
pub(super) fn has_few(instructions: Instructions) -> bool {
    // On ARM plain instructions multiply bytes.
    (instructions != Instructions::Plain || cfg!(target_arch = "aarch64")) && multiplies_bytes()
}

/// As `linear`, of up to [`LANES`] rows, for machines that [`has_few`] knows and formats that have integers.
pub(super) fn few(
    instructions: Instructions,
    scratch: &mut Scratch,
    w: WeightRows<'_>,
    bias: Option<&[f32]>,
    x: &[f32],
    out: &mut [f32],
) {
    let Some(groups) = w.format.groups else { panic!("{} has no integers", w.format.name) };
    let (n, rows) = (w.rows(), x.len() / w.cols);
    scratch.bytes.resize_with(rows.max(scratch.bytes.len()), ByteRow::default);
    for (to, row) in scratch.bytes.iter_mut().zip(x.chunks_exact(w.cols)) {
        instructions.run(QuantiseRow { row, to });
    }
    let x = &scratch.bytes[..rows];
    let dot = |j: usize, x: &ByteRow| (groups.byte_dot)(part(&w, j, 0, w.cols), x);
    if let [x] = x {
        return out
            .par_iter_mut()
            .with_min_len(SPLIT)
            .enumerate()
            .for_each(|(j, y)| *y = dot(j, x) + bias.map_or(0.0, |b| b[j]));
    }
    // All rows with a weight row while that is in the cache.
    let columns = grow(&mut scratch.columns, n);
    columns.par_iter_mut().with_min_len(SPLIT).enumerate().for_each(|(j, y)| {
        for (y, x) in y.iter_mut().zip(x) {
            *y = dot(j, x);
        }
    });
    unpack(columns, 1, bias, n, out);
}

/// Rounds a row of x.
struct QuantiseRow<'a> {
    row: &'a [f32],
    to: &'a mut ByteRow,
}

impl Kernel for QuantiseRow<'_> {
    #[inline(always)]
    unsafe fn run<V: Lanes>(self) {
        let QuantiseRow { row, to } = self;
        let groups = row.as_chunks::<GROUP>().0;
        to.q.resize(groups.len(), [0; GROUP]);
        to.scale.resize(groups.len(), 0.0);
        to.sums.resize(groups.len(), [0.0; 2]);
        for (g, x) in groups.iter().enumerate() {
            let rounded = Rounded::of(x);
            (to.q[g], to.scale[g], to.sums[g]) = (rounded.q, rounded.scale, rounded.sums);
        }
    }
}

/// 32 numbers in int8.
struct Rounded {
    q: [i8; GROUP],
    scale: f32,
    /// Of the first and of the last sixteen, before rounding.
    sums: [f32; 2],
}

impl Rounded {
    #[inline(always)]
    fn of(x: &[f32; GROUP]) -> Rounded {
        /// Added, it rounds to a whole number, which is then in the sum's lowest bits.
        const ROUND: f32 = 1.5 * (1 << 23) as f32;
        let mut most = [0.0f32; LANES];
        let mut sums = [0.0; 2];
        for i in 0..LANES {
            most[i] = if x[i].abs() > x[i + 16].abs() { x[i].abs() } else { x[i + 16].abs() };
            sums[0] += x[i];
            sums[1] += x[i + 16];
        }
        let mut largest = 0.0;
        for most in most {
            largest = if most > largest { most } else { largest };
        }
        // Smaller numbers have no inverse; they are as good as zero.
        let inverse = if largest > 1e-35 { 127.0 / largest } else { 0.0 };
        let mut q = [0; GROUP];
        for (q, x) in q.iter_mut().zip(x) {
            *q = (x * inverse + ROUND).to_bits() as i8;
        }
        // What is no number shows in the sums, and shall show in the result.
        let sum = sums[0] + sums[1];
        Rounded { q, scale: if sum.is_nan() { sum } else { largest / 127.0 }, sums }
    }
}

/// Whether the machine has an instruction for many rows.
pub(super) fn has(instructions: Instructions) -> bool {
    match instructions {
        #[cfg(target_arch = "x86_64")]
        Instructions::Avx512Vnni => true,
        #[cfg(target_arch = "aarch64")]
        Instructions::DotProducts => true,
        _ => false,
    }
}

/// As `linear`, for machines that [`has`] knows and formats that have integers.
pub(super) fn many(
    instructions: Instructions,
    scratch: &mut Scratch,
    w: WeightRows<'_>,
    bias: Option<&[f32]>,
    x: &[f32],
    out: &mut [f32],
) {
    let Some(groups) = w.format.groups else { panic!("{} has no integers", w.format.name) };
    let (n, per_row) = (w.rows(), w.cols / GROUP);
    let panels = (x.len() / w.cols).div_ceil(LANES);
    let codes = grow(&mut scratch.codes, panels * per_row);
    let all = codes.par_chunks_mut(per_row).zip(x.par_chunks(LANES * w.cols));
    all.for_each(|(codes, rows)| instructions.run(Quantise { rows, cols: w.cols, codes }));
    let codes: Vec<&[Codes]> = codes.chunks_exact(per_row).collect();
    let columns = grow(&mut scratch.columns, n * panels);
    let block = block_of(n);
    let none = Coded { group: Group { q: [0; GROUP], scale: [0.0; 2], minimum: [0.0; 2] }, base: [0; 2] };
    columns.par_chunks_mut(block * panels).enumerate().for_each_init(
        || (vec![none; BLOCK * GROUPS], vec![none.group; GROUPS]),
        |(coded, read), (at, y)| {
            let task = Task { w, groups, first: at * block, x: &codes, coded, read, y };
            task.run();
        },
    );
    unpack(columns, panels, bias, n, out);
}

/// Rounds up to sixteen rows of x.
struct Quantise<'a> {
    rows: &'a [f32],
    cols: usize,
    codes: &'a mut [Codes],
}

impl Kernel for Quantise<'_> {
    #[inline(always)]
    unsafe fn run<V: Lanes>(self) {
        let Quantise { rows, cols, codes } = self;
        for (r, row) in rows.chunks_exact(cols).enumerate() {
            for (x, codes) in row.as_chunks::<GROUP>().0.iter().zip(codes.iter_mut()) {
                let Rounded { q, scale, sums } = Rounded::of(x);
                for (to, q) in codes.q.iter_mut().zip(q.as_chunks::<4>().0) {
                    to[r] = q.map(|q| q as u8 ^ OFFSET);
                }
                (codes.scale[r], codes.sums[0][r], codes.sums[1][r]) = (scale, sums[0], sums[1]);
            }
        }
        // What is left from before in rows behind the last one gives results that nobody reads.
    }
}

/// A block of weight rows times all panels: y is `[rows][panels]`.
struct Task<'a> {
    w: WeightRows<'a>,
    groups: Groups,
    first: usize,
    x: &'a [&'a [Codes]],
    coded: &'a mut [Coded],
    read: &'a mut [Group],
    y: &'a mut [[f32; LANES]],
}

impl Task<'_> {
    fn run(self) {
        let Task { w, groups, first, x, coded, read, y } = self;
        let rows = y.len() / x.len();
        let mut from = 0;
        while from < w.cols {
            let depth = DEPTH.min(w.cols - from);
            let (start, count) = (from / GROUP, depth / GROUP);
            for r in 0..rows {
                (groups.read)(part(&w, first + r, from, depth), &mut read[..count]);
                for (coded, group) in coded[r * GROUPS..].iter_mut().zip(&read[..count]) {
                    let mut sums = [0i32; 2];
                    for i in 0..LANES {
                        sums[0] += i32::from(group.q[i]);
                        sums[1] += i32::from(group.q[i + 16]);
                    }
                    if groups.one_scale {
                        sums = [sums[0] + sums[1], 0];
                    }
                    *coded = Coded { group: *group, base: sums.map(|sum| -i32::from(OFFSET) * sum) };
                }
            }
            for (p, x) in x.iter().enumerate() {
                let (x, y) = (&x[start..start + count], &mut y[p..]);
                multiply(groups, rows, coded, x, y, self.x.len(), from > 0);
            }
            from += depth;
        }
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn multiply(_: Groups, _: usize, _: &[Coded], _: &[Codes], _: &mut [[f32; LANES]], _: usize, _: bool) {
    panic!("this machine has no dot products of int8");
}

/// y[r] (+)= the products of row r of the weights, [`GROUPS`] apart, with x; rows of y are `stride` apart.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn multiply(
    groups: Groups,
    rows: usize,
    coded: &[Coded],
    x: &[Codes],
    y: &mut [[f32; LANES]],
    stride: usize,
    add: bool,
) {
    #[cfg(target_arch = "x86_64")]
    assert!(is_x86_feature_detected!("avx512vnni") && is_x86_feature_detected!("avx512f"));
    #[cfg(target_arch = "aarch64")]
    assert!(std::arch::is_aarch64_feature_detected!("dotprod"));
    // SAFETY: the machine has these parts of AVX-512, or dot products.
    unsafe {
        match (groups.one_scale, groups.affine) {
            (true, false) => best::multiply::<true, false>(rows, coded, x, y, stride, add),
            (true, true) => best::multiply::<true, true>(rows, coded, x, y, stride, add),
            (false, false) => best::multiply::<false, false>(rows, coded, x, y, stride, add),
            (false, true) => best::multiply::<false, true>(rows, coded, x, y, stride, add),
        }
    }
}

#[cfg(target_arch = "aarch64")]
use dot_products as best;
#[cfg(target_arch = "x86_64")]
use vnni as best;

#[cfg(target_arch = "x86_64")]
mod vnni {
    use std::arch::x86_64::*;

    use super::{Coded, Codes, GROUPS, LANES};

    #[target_feature(enable = "avx512f,avx512vnni")]
    pub(super) fn multiply<const ONE_SCALE: bool, const AFFINE: bool>(
        rows: usize,
        coded: &[Coded],
        x: &[Codes],
        y: &mut [[f32; LANES]],
        stride: usize,
        add: bool,
    ) {
        let mut r = 0;
        while r + 8 <= rows {
            let (w, y) = (&coded[r * GROUPS..], &mut y[r * stride..]);
            tile::<8, ONE_SCALE, AFFINE>(w, x, y, stride, add);
            r += 8;
        }
        while r < rows {
            let (w, y) = (&coded[r * GROUPS..], &mut y[r * stride..]);
            tile::<1, ONE_SCALE, AFFINE>(w, x, y, stride, add);
            r += 1;
        }
    }

    #[target_feature(enable = "avx512f,avx512vnni")]
    fn tile<const R: usize, const ONE_SCALE: bool, const AFFINE: bool>(
        w: &[Coded],
        x: &[Codes],
        y: &mut [[f32; LANES]],
        stride: usize,
        add: bool,
    ) {
        assert!((R - 1) * GROUPS + x.len() <= w.len() && (R - 1) * stride < y.len());
        let mut sums = [_mm512_setzero_ps(); R];
        for (g, x) in x.iter().enumerate() {
            let mut q = [_mm512_setzero_si512(); 8];
            for i in 0..8 {
                // SAFETY: 16 times 4 bytes.
                q[i] = unsafe { _mm512_loadu_si512(x.q[i].as_ptr().cast()) };
            }
            let scale = load(&x.scale);
            for r in 0..R {
                // SAFETY: the largest index was found to be inside the slice.
                let Coded { group, base } = unsafe { w.get_unchecked(r * GROUPS + g) };
                let fours = group.q.as_chunks::<4>().0;
                let mut low = _mm512_set1_epi32(base[0]);
                let mut high = if ONE_SCALE { low } else { _mm512_set1_epi32(base[1]) };
                for i in 0..4 {
                    low = _mm512_dpbusd_epi32(low, q[i], _mm512_set1_epi32(bytemuck::cast(fours[i])));
                    let four = _mm512_set1_epi32(bytemuck::cast(fours[i + 4]));
                    if ONE_SCALE {
                        low = _mm512_dpbusd_epi32(low, q[i + 4], four);
                    } else {
                        high = _mm512_dpbusd_epi32(high, q[i + 4], four);
                    }
                }
                let products = _mm512_mul_ps(_mm512_cvtepi32_ps(low), scale);
                sums[r] = _mm512_fmadd_ps(products, _mm512_set1_ps(group.scale[0]), sums[r]);
                if !ONE_SCALE {
                    let products = _mm512_mul_ps(_mm512_cvtepi32_ps(high), scale);
                    sums[r] = _mm512_fmadd_ps(products, _mm512_set1_ps(group.scale[1]), sums[r]);
                }
                if AFFINE {
                    for half in 0..2 {
                        let minimum = _mm512_set1_ps(group.minimum[half]);
                        sums[r] = _mm512_fnmadd_ps(load(&x.sums[half]), minimum, sums[r]);
                    }
                }
            }
        }
        for r in 0..R {
            let y = &mut y[r * stride];
            let sum = if add { _mm512_add_ps(load(y), sums[r]) } else { sums[r] };
            // SAFETY: an array of 16 numbers.
            unsafe { _mm512_storeu_ps(y.as_mut_ptr(), sum) };
        }
    }

    #[target_feature(enable = "avx512f")]
    fn load(x: &[f32; LANES]) -> __m512 {
        // SAFETY: an array of 16 numbers.
        unsafe { _mm512_loadu_ps(x.as_ptr()) }
    }
}

#[cfg(target_arch = "aarch64")]
mod dot_products {
    use std::arch::aarch64::*;
    use std::arch::asm;

    use super::{Coded, Codes, GROUPS, LANES};

    /// Vectors of sixteen rows of x.
    const PARTS: usize = LANES / 4;

    #[target_feature(enable = "dotprod")]
    pub(super) fn multiply<const ONE_SCALE: bool, const AFFINE: bool>(
        rows: usize,
        coded: &[Coded],
        x: &[Codes],
        y: &mut [[f32; LANES]],
        stride: usize,
        add: bool,
    ) {
        let mut r = 0;
        while r + 4 <= rows {
            let (w, y) = (&coded[r * GROUPS..], &mut y[r * stride..]);
            tile::<4, ONE_SCALE, AFFINE>(w, x, y, stride, add);
            r += 4;
        }
        while r < rows {
            let (w, y) = (&coded[r * GROUPS..], &mut y[r * stride..]);
            tile::<1, ONE_SCALE, AFFINE>(w, x, y, stride, add);
            r += 1;
        }
    }

    #[target_feature(enable = "dotprod")]
    fn tile<const R: usize, const ONE_SCALE: bool, const AFFINE: bool>(
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
}
