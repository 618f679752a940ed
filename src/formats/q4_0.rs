//! Q4_0: 32 weights share one f16 scale.
//!
//! A block of 18 bytes (`block_q4_0` in ggml-common.h): 0–1 d (f16) · 2–17 q (32 × 4 bits: byte j holds q\[j\] in its
//! low half and q\[j + 16\] in its high half). `w[i] = d · (q[i] − 8)`.
//!
//! A unit is two blocks; a row of an odd number of them is padded with zeros. Plane 0: for each row the q of the first
//! blocks of all units, then of the second ones, the high half of a byte less 8, see [`sign_high_halves`]. Plane 1: the
//! d of each block.

use super::{Format, Plane, each_block, f16_at, plane_row, row, row_blocks, sign_high_halves};

pub(super) static Q4_0: Format = Format {
    name: "Q4_0",
    id: 2,
    weights: 32,
    bytes: 18,
    decode,
    dot: row::dot::<Block, 18, 32>,
    wgsl: "q4_0",
    unit: 64,
    planes: &[Plane { weights: 64, bytes: 32 }, Plane { weights: 64, bytes: 4 }],
    repack,
    integer: true,
};

fn decode(blocks: &[u8], weights: &mut [f32]) {
    for (block, w) in each_block::<18, 32>(blocks, weights) {
        let d = f16_at(block, 0);
        for (j, q) in block[2..].iter().enumerate() {
            w[j] = d * f32::from((q & 15) as i8 - 8);
            w[j + 16] = d * f32::from((q >> 4) as i8 - 8);
        }
    }
}

struct Block;

impl row::Products<18, 32> for Block {
    #[inline(always)]
    fn of(block: &[u8; 18], x: &[f32; 32]) -> [f32; row::SUMS] {
        let d = row::scale(block, 0);
        let low = |i: usize| f32::from((block[2 + i] & 15) as i8 - 8);
        let high = |i: usize| f32::from((block[2 + i] >> 4) as i8 - 8);
        let mut sums = [0.0; row::SUMS];
        for (i, sum) in sums.iter_mut().enumerate() {
            *sum = d * (low(i) * x[i] + high(i) * x[i + 16]);
        }
        sums
    }
}

fn repack(row: &[u8], _cols: usize, planes: &mut [&mut [u8]]) {
    let blocks = row_blocks::<18>(row);
    let [quants, scales] = planes else { panic!("Q4_0: repack writes 2 planes, not {}", planes.len()) };
    let units = blocks.len().div_ceil(2);
    let quants = plane_row::<16>(quants, 2 * units);
    let scales = plane_row::<2>(scales, 2 * units);
    quants.fill([0; 16]);
    scales.fill([0; 2]);
    for (i, block) in blocks.iter().enumerate() {
        scales[i].copy_from_slice(&block[..2]);
        let q = &mut quants[i % 2 * units + i / 2];
        q.copy_from_slice(&block[2..]);
        sign_high_halves(q);
    }
}
