//! Q8_0: 32 weights share one f16 scale.
//!
//! A block of 34 bytes (`block_q8_0` in ggml-common.h): 0–1 d (f16) · 2–33 q (32 × i8). `w[i] = d · q[i]`.
//!
//! Plane 0: the q of each block, as they are. Plane 1: the d of each block. A unit is a block.

use super::{Format, Plane, each_block, f16_at, plane_row, row, row_blocks};

pub(super) static Q8_0: Format = Format {
    name: "Q8_0",
    id: 8,
    weights: 32,
    bytes: 34,
    decode,
    dot: row::dot::<Block, 34, 32>,
    wgsl: "q8_0",
    unit: 32,
    planes: &[Plane { weights: 32, bytes: 32 }, Plane { weights: 32, bytes: 2 }],
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
    let quants = plane_row::<32>(quants, blocks.len());
    let scales = plane_row::<2>(scales, blocks.len());
    for ((block, q), d) in blocks.iter().zip(quants).zip(scales) {
        d.copy_from_slice(&block[..2]);
        q.copy_from_slice(&block[2..]);
    }
}
