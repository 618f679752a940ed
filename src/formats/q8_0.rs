//! Q8_0: 32 weights share one f16 scale.
//!
//! A block of 34 bytes (`block_q8_0` in ggml-common.h): 0–1 d (f16) · 2–33 q (32 × i8). `w[i] = d · q[i]`.
//!
//! A unit is two blocks; a row of an odd number of them is padded with zeros. Plane 0: for each row the first 16 q of all
//! units, then the second, third and fourth 16. Plane 1: the d of each block.

use super::{Format, Plane, each_block, f16_at, plane_row, row, row_blocks};

pub(super) static Q8_0: Format = Format {
    name: "Q8_0",
    id: 8,
    weights: 32,
    bytes: 34,
    decode,
    dot: row::dot::<Block, 34, 32>,
    wgsl: "q8_0",
    unit: 64,
    planes: &[Plane { weights: 64, bytes: 64 }, Plane { weights: 64, bytes: 4 }],
    repack,
    integer: true,
};

fn decode(blocks: &[u8], weights: &mut [f32]) {
    for (block, w) in each_block::<34, 32>(blocks, weights) {
        let d = f16_at(block, 0);
        for (w, q) in w.iter_mut().zip(&block[2..]) {
            *w = d * f32::from(*q as i8);
        }
    }
}

struct Block;

impl row::Products<34, 32> for Block {
    #[inline(always)]
    fn of(block: &[u8; 34], x: &[f32; 32]) -> [f32; row::SUMS] {
        let d = row::scale(block, 0);
        let q = |i: usize| f32::from(block[2 + i] as i8);
        let mut sums = [0.0; row::SUMS];
        for (i, sum) in sums.iter_mut().enumerate() {
            *sum = d * (q(i) * x[i] + q(i + 16) * x[i + 16]);
        }
        sums
    }
}

fn repack(row: &[u8], _cols: usize, planes: &mut [&mut [u8]]) {
    let blocks = row_blocks::<34>(row);
    let [quants, scales] = planes else { panic!("Q8_0: repack writes 2 planes, not {}", planes.len()) };
    let units = blocks.len().div_ceil(2);
    let quants = plane_row::<16>(quants, 4 * units);
    let scales = plane_row::<2>(scales, 2 * units);
    quants.fill([0; 16]);
    scales.fill([0; 2]);
    for (i, block) in blocks.iter().enumerate() {
        scales[i].copy_from_slice(&block[..2]);
        for (half, q) in block[2..].as_chunks::<16>().0.iter().enumerate() {
            quants[(i % 2 * 2 + half) * units + i / 2] = *q;
        }
    }
}
