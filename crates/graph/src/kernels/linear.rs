//! y[r, n] = Σ over c of x[r, c] · w[n, c] (+ b[n]), fast: of one row by dot products with the stored weights, of a few rows with
//! each weight decoded once, of many rows in panels whose sums stay in registers.
//!
//! All of it is f32 arithmetic on the weights of `decode`; what is in int8 is in `int8.rs`. Weight rows are spread over the threads.

use rayon::prelude::*;

use super::int8;
use super::lanes::{Instructions, Kernel, LANES, Lanes};
use super::tile::{Matrix, ROWS, tiles};
use crate::Precision;
use crate::formats::ByteRow;
use crate::ops::WeightRows;

/// As many rows as are multiplied without panels: in f32, and in int8.
const FEW: usize = 6;
const FEW_INT8: usize = 3;
/// The fewest weight rows that are worth a task of their own.
pub(super) const SPLIT: usize = 16;
/// Weight rows that a task decodes at a time: with their part of x they stay in a core's second cache.
pub(super) const BLOCK: usize = 32;
/// Columns that are decoded at a time; whole blocks of any format.
pub(super) const DEPTH: usize = 512;
/// Distance of decoded rows: not a power of two, which would put all rows into the same few places of the first cache.
const STRIDE: usize = DEPTH + LANES;

/// What is kept from one product to the next: fresh memory costs as much as moving the numbers.
#[derive(Default)]
pub(super) struct Scratch {
    panels: Vec<[f32; LANES]>,
    pub codes: Vec<int8::Codes>,
    pub bytes: Vec<ByteRow>,
    /// Results as they are computed: `[n][panels]` of sixteen rows.
    pub columns: Vec<[f32; LANES]>,
}

/// `out` is `[rows][n]`, `x` is `[rows][cols]`, `bias` has n numbers.
pub(super) fn linear(
    instructions: Instructions,
    precision: Precision,
    scratch: &mut Scratch,
    w: WeightRows<'_>,
    bias: Option<&[f32]>,
    x: &[f32],
    out: &mut [f32],
) {
    let n = w.rows();
    assert!(x.len() / w.cols * n == out.len(), "linear: {} results of {} numbers", out.len(), x.len());
    let in_int8 = precision == Precision::Fast && w.format.groups.is_some();
    match x.len() / w.cols {
        0 => {}
        rows if rows <= FEW_INT8 && in_int8 && int8::has_few(instructions) => {
            int8::few(instructions, scratch, w, bias, x, out)
        }
        1 => one(w, bias, x, out),
        rows if rows <= FEW => few(instructions, scratch, w, bias, x, out),
        _ if in_int8 && int8::has(instructions) => int8::many(instructions, scratch, w, bias, x, out),
        _ => many(instructions, scratch, w, bias, x, out),
    }
}

fn one(w: WeightRows<'_>, bias: Option<&[f32]>, x: &[f32], out: &mut [f32]) {
    out.par_iter_mut().with_min_len(SPLIT).enumerate().for_each(|(j, y)| {
        *y = w.dot(j, x) + bias.map_or(0.0, |b| b[j]);
    });
}

fn few(
    instructions: Instructions,
    scratch: &mut Scratch,
    w: WeightRows<'_>,
    bias: Option<&[f32]>,
    x: &[f32],
    out: &mut [f32],
) {
    let n = w.rows();
    let columns = grow(&mut scratch.columns, n);
    columns.par_chunks_mut(SPLIT).enumerate().for_each_init(
        || vec![0.0; DEPTH],
        |decoded, (block, y)| {
            instructions.run(Few { w, first: block * SPLIT, x, decoded, y });
        },
    );
    unpack(columns, 1, bias, n, out);
}

fn many(
    instructions: Instructions,
    scratch: &mut Scratch,
    w: WeightRows<'_>,
    bias: Option<&[f32]>,
    x: &[f32],
    out: &mut [f32],
) {
    let (n, cols) = (w.rows(), w.cols);
    let panels = (x.len() / cols).div_ceil(LANES);
    pack(x, cols, &mut scratch.panels);
    let packed: Vec<&[[f32; LANES]]> = scratch.panels[..panels * cols].chunks_exact(cols).collect();
    let columns = grow(&mut scratch.columns, n * panels);
    let block = block_of(n);
    columns.par_chunks_mut(block * panels).enumerate().for_each_init(
        || vec![0.0; BLOCK * STRIDE],
        |decoded, (at, y)| {
            instructions.run(Many { w, first: at * block, x: &packed, decoded, y });
        },
    );
    unpack(columns, panels, bias, n, out);
}

/// The first `count` of what is kept, which is made larger where it has to be.
pub(super) fn grow<T: Copy + Default>(kept: &mut Vec<T>, count: usize) -> &mut [T] {
    if kept.len() < count {
        kept.resize(count, T::default());
    }
    &mut kept[..count]
}

/// Weight rows of a task: small matrices are cut finer, so that every thread has a part.
pub(super) fn block_of(n: usize) -> usize {
    (n / (4 * rayon::current_num_threads())).next_multiple_of(ROWS).clamp(ROWS, BLOCK)
}

/// Writes columns, `[n][panels]` of sixteen rows, as rows of n, and adds the bias.
pub(super) fn unpack(
    columns: &[[f32; LANES]],
    panels: usize,
    bias: Option<&[f32]>,
    n: usize,
    out: &mut [f32],
) {
    out.par_chunks_mut(LANES * n).enumerate().for_each(|(panel, out)| {
        // Sixteen columns at a time: what is read of a panel is one line of the cache.
        for from in (0..n).step_by(LANES) {
            for (r, y) in out.chunks_exact_mut(n).enumerate() {
                for (j, y) in y.iter_mut().enumerate().skip(from).take(LANES) {
                    *y = columns[j * panels + panel][r] + bias.map_or(0.0, |b| b[j]);
                }
            }
        }
    });
}

/// Writes rows of x as panels: `[rows / 16][cols]` of sixteen rows, the last ones filled up with zeros.
fn pack(x: &[f32], cols: usize, panels: &mut Vec<[f32; LANES]>) {
    let count = (x.len() / cols).div_ceil(LANES);
    let all = grow(panels, count * cols).par_chunks_mut(cols).zip(x.par_chunks(LANES * cols));
    all.for_each(|(panel, rows)| {
        for from in (0..cols).step_by(LANES) {
            for r in 0..LANES {
                match rows.get(r * cols..(r + 1) * cols) {
                    Some(row) => {
                        for (lanes, &x) in panel.iter_mut().zip(row).skip(from).take(LANES) {
                            lanes[r] = x;
                        }
                    }
                    None => panel.iter_mut().skip(from).take(LANES).for_each(|lanes| lanes[r] = 0.0),
                }
            }
        }
    });
}

/// The blocks of columns `from..from + columns` of row `r`.
#[inline(always)]
pub(super) fn part<'a>(w: &WeightRows<'a>, r: usize, from: usize, columns: usize) -> &'a [u8] {
    let start = r * w.format.row_bytes(w.cols) + w.format.row_bytes(from);
    &w.blocks[start..start + w.format.row_bytes(columns)]
}

/// A block of weight rows times all panels: y is `[rows][panels]`.
struct Many<'a> {
    w: WeightRows<'a>,
    first: usize,
    x: &'a [&'a [[f32; LANES]]],
    decoded: &'a mut [f32],
    y: &'a mut [[f32; LANES]],
}

impl Kernel for Many<'_> {
    #[inline(always)]
    unsafe fn run<V: Lanes>(self) {
        let Many { w, first, x, decoded, y } = self;
        let rows = y.len() / x.len();
        let mut from = 0;
        while from < w.cols {
            let depth = DEPTH.min(w.cols - from);
            for r in 0..rows {
                let to = &mut decoded[r * STRIDE..][..depth];
                (w.format.decode)(part(&w, first + r, from, depth), to);
            }
            let m = Matrix { data: decoded, row: STRIDE, step: 1, rows };
            // Two panels at a time: with their part of the columns they stay in the cache for all rows.
            let mut p = 0;
            while p < x.len() {
                let pair = [&x[p][from..from + depth], &x[(p + 1).min(x.len() - 1)][from..from + depth]];
                let count = 2.min(x.len() - p);
                // SAFETY: the caller's.
                unsafe { tiles::<V>(m, depth, &pair[..count], &mut y[p..], x.len(), from > 0) };
                p += count;
            }
            from += depth;
        }
    }
}

/// A block of weight rows times a few rows of x: lane r of y is row r's.
struct Few<'a> {
    w: WeightRows<'a>,
    first: usize,
    x: &'a [f32],
    decoded: &'a mut [f32],
    y: &'a mut [[f32; LANES]],
}

impl Kernel for Few<'_> {
    #[inline(always)]
    unsafe fn run<V: Lanes>(self) {
        // SAFETY: the caller's.
        unsafe {
            match self.x.len() / self.w.cols {
                2 => self.rows::<V, 2>(),
                3 => self.rows::<V, 3>(),
                4 => self.rows::<V, 4>(),
                5 => self.rows::<V, 5>(),
                6 => self.rows::<V, 6>(),
                rows => panic!("{rows} are not few rows"),
            }
        }
    }
}

impl Few<'_> {
    #[inline(always)]
    unsafe fn rows<V: Lanes, const R: usize>(self) {
        let Few { w, first, x, decoded, y } = self;
        for (j, y) in y.iter_mut().enumerate() {
            let (mut sums, mut odd) = ([[0.0; LANES]; R], [0.0; R]);
            let mut from = 0;
            while from < w.cols {
                let depth = DEPTH.min(w.cols - from);
                let decoded = &mut decoded[..depth];
                (w.format.decode)(part(&w, first + j, from, depth), decoded);
                let mut xs = [&x[..0]; R];
                for r in 0..R {
                    xs[r] = &x[r * w.cols + from..][..depth];
                }
                // SAFETY: the caller's.
                unsafe { add_products::<V, R>(decoded, &xs, &mut sums, &mut odd) };
                from += depth;
            }
            for r in 0..R {
                let mut sum = odd[r] as f64;
                for lane in sums[r] {
                    sum += lane as f64;
                }
                y[r] = sum as f32;
            }
        }
    }
}

/// Adds the products of w with each x to its sums, those behind the last whole sixteen to the odd one.
#[inline(always)]
unsafe fn add_products<V: Lanes, const R: usize>(
    w: &[f32],
    x: &[&[f32]; R],
    sums: &mut [[f32; LANES]; R],
    odd: &mut [f32; R],
) {
    let (whole, rest) = w.as_chunks::<LANES>();
    let mut xs = [(&[] as &[[f32; LANES]], &[] as &[f32]); R];
    for r in 0..R {
        let (x, rest) = x[r].as_chunks::<LANES>();
        xs[r] = (&x[..whole.len()], rest);
    }
    // SAFETY: the caller's.
    unsafe {
        let mut acc = [V::splat(0.0); R];
        for r in 0..R {
            acc[r] = V::load(&sums[r]);
        }
        for (i, w) in whole.iter().enumerate() {
            let w = V::load(w);
            for r in 0..R {
                acc[r] = acc[r].add_product(w, V::load(&xs[r].0[i]));
            }
        }
        for r in 0..R {
            acc[r].store(&mut sums[r]);
            for (&w, &x) in rest.iter().zip(xs[r].1) {
                odd[r] += w * x;
            }
        }
    }
}
