//! Products in int8: x rounded to int8 with a scale for each 32 numbers of a row, weights as the small integers that they are stored as, sums of
//! 16 or 32 products exact in i32.
//!
//! A few rows are multiplied with the weights as they are stored, one by one; many in panels, which takes an instruction that multiplies and adds
//! four bytes at a time. It is not for formats that store floats.

// Several arrays go side by side: an index says so, and compilers unroll it.
#![allow(clippy::needless_range_loop)]

#[cfg(target_arch = "aarch64")]
mod dot_products;
#[cfg(target_arch = "x86_64")]
mod vnni;

use rayon::prelude::*;

use super::lanes::{Instructions, Kernel, LANES, Lanes};
use super::linear::{BLOCK, DEPTH, SPLIT, Scratch, block_of, grow, part, unpack};
use crate::formats::{ByteGroup, ByteProducts, ByteRow, GROUP, Group, Groups};
use crate::ops::WeightRows;
#[cfg(target_arch = "aarch64")]
use dot_products as best;
#[cfg(target_arch = "x86_64")]
use vnni as best;

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

/// What multiplies a few rows, where the machine has it.
fn of_few(instructions: Instructions) -> Option<ByteProducts> {
    let with = match instructions {
        Instructions::Plain => cfg!(target_arch = "aarch64").then_some(ByteProducts::Pairs),
        #[cfg(target_arch = "x86_64")]
        Instructions::Avx2 | Instructions::Avx512 => Some(ByteProducts::Pairs),
        #[cfg(target_arch = "x86_64")]
        Instructions::Avx512Vnni => Some(ByteProducts::Fours),
        #[cfg(target_arch = "aarch64")]
        Instructions::DotProducts => Some(ByteProducts::Fours),
    };
    with.filter(|with| with.are_here())
}

/// Whether the machine has instructions for a few rows.
pub(super) fn has_few(instructions: Instructions) -> bool {
    of_few(instructions).is_some()
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
    let Some(with) = of_few(instructions) else { panic!("{instructions:?} multiplies no bytes") };
    let (n, rows) = (w.rows(), x.len() / w.cols);
    scratch.bytes.resize_with(rows.max(scratch.bytes.len()), ByteRow::default);
    for (to, row) in scratch.bytes.iter_mut().zip(x.chunks_exact(w.cols)) {
        instructions.run(QuantiseRow { row, to });
    }
    let x = &scratch.bytes[..rows];
    let bytes = w.format.row_bytes(w.cols);
    let dot = |at: usize, x: &ByteRow, sums: &mut [f32]| {
        (groups.byte_dot)(with, &w.blocks[at * SPLIT * bytes..][..sums.len() * bytes], x, sums);
    };
    if let [x] = x {
        return out.par_chunks_mut(SPLIT).enumerate().for_each(|(at, y)| {
            dot(at, x, y);
            for (y, b) in y.iter_mut().zip(bias.into_iter().flat_map(|bias| &bias[at * SPLIT..])) {
                *y += b;
            }
        });
    }
    // All rows with some of the weight rows while these are in the cache.
    let columns = grow(&mut scratch.columns, n);
    columns.par_chunks_mut(SPLIT).enumerate().for_each(|(at, columns)| {
        let mut sums = [0.0; SPLIT];
        let sums = &mut sums[..columns.len()];
        for (r, x) in x.iter().enumerate() {
            dot(at, x, sums);
            for (column, &sum) in columns.iter_mut().zip(&*sums) {
                column[r] = sum;
            }
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
        to.fill(row.as_chunks::<GROUP>().0.iter().map(rounded));
    }
}

#[inline(always)]
fn rounded(x: &[f32; GROUP]) -> ByteGroup {
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
    ByteGroup { q, scale: if sum.is_nan() { sum } else { largest / 127.0 }, sums }
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
                let ByteGroup { q, scale, sums } = rounded(x);
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
            (true, false) => tiles::<true, false>(rows, coded, x, y, stride, add),
            (true, true) => tiles::<true, true>(rows, coded, x, y, stride, add),
            (false, false) => tiles::<false, false>(rows, coded, x, y, stride, add),
            (false, true) => tiles::<false, true>(rows, coded, x, y, stride, add),
        }
    }
}

/// As many rows at a time as registers are for, and what is left one by one.
///
/// # Safety
/// The machine must have the instructions of `best`.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
unsafe fn tiles<const ONE_SCALE: bool, const AFFINE: bool>(
    rows: usize,
    coded: &[Coded],
    x: &[Codes],
    y: &mut [[f32; LANES]],
    stride: usize,
    add: bool,
) {
    let mut r = 0;
    while r < rows {
        let (w, y) = (&coded[r * GROUPS..], &mut y[r * stride..]);
        // SAFETY: the caller's.
        unsafe {
            if r + best::ROWS <= rows {
                best::tile::<{ best::ROWS }, ONE_SCALE, AFFINE>(w, x, y, stride, add);
                r += best::ROWS;
            } else {
                best::tile::<1, ONE_SCALE, AFFINE>(w, x, y, stride, add);
                r += 1;
            }
        }
    }
}
