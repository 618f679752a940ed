//! Q4_0: 32 weights share one f16 scale.
//!
//! A block of 18 bytes (`block_q4_0` in ggml-common.h): 0–1 d (f16) · 2–17 q (32 × 4 bits: byte j holds q\[j\] in its
//! low half and q\[j + 16\] in its high half). `w[i] = d · (q[i] − 8)`.
//!
//! A unit is two blocks; a row of an odd number of them is padded with zeros. Plane 0: [`Nibbles`], the high ones signed.
//! Plane 1: the d of each block.

use super::block::{self, Block, bytes_at, f16_at};
use super::bytes::{Bytes, Plain};
use super::encode::{each_block, furthest, inverse, put_f16};
use super::planes::{Nibbles, plane_row, planes_of, row_blocks};
use super::{Format, Plane};

pub(super) static Q4_0: Format = Format {
    name: "Q4_0",
    id: 2,
    weights: 32,
    bytes: 18,
    decode: block::decode::<Q4, 18, 32>,
    encode: Some(encode),
    groups: block::groups::<Q4, 18, 32>(),
    dot: block::dot::<Q4, 18, 32>,
    wgsl: "q4_0",
    unit: 64,
    planes: &[Plane { weights: 64, bytes: 32 }, Plane { weights: 64, bytes: 4 }],
    grid: None,
    repack,
    integer: true,
};

struct Q4;

impl Block<18, 32> for Q4 {
    const OFFSET: u8 = 8;
    const MOST: u8 = 15;
    const SCALE_AT: Option<usize> = Some(0);
    type Header = ();

    #[inline(always)]
    fn header<V: Bytes>(_: V, _: &[u8; 18]) {}

    #[inline(always)]
    fn codes<V: Bytes>(v: V, block: &[u8; 18], _: usize) -> V::All {
        v.nibbles(bytes_at(block, 2))
    }

    #[inline(always)]
    fn scale(block: &[u8; 18], _: &(), _: usize) -> [f32; 2] {
        [f16_at(block, 0); 2]
    }
}

/// The weight furthest from 0 becomes −8 (`quantize_row_q4_0_ref`).
fn encode(weights: &[f32], blocks: &mut [u8]) {
    each_block(weights, blocks, |w: &[f32; 32], block: &mut [u8; 18]| {
        let d = furthest(w) / -8.0;
        let inverse = inverse(d);
        let quant = |i: usize| ((w[i] * inverse + 8.5) as u8).min(15);
        put_f16(block, 0, d);
        for j in 0..16 {
            block[2 + j] = quant(j) | quant(j + 16) << 4;
        }
    });
}

fn repack(row: &[u8], _cols: usize, planes: &mut [&mut [u8]]) {
    let blocks = row_blocks::<18>(row);
    let [quants, scales] = planes_of("Q4_0", planes);
    let units = blocks.len().div_ceil(2);
    let mut quants = Nibbles::new(quants, units);
    let scales = plane_row::<2>(scales, 2 * units);
    scales.fill([0; 2]);
    for (i, block) in blocks.iter().enumerate() {
        quants.put_signed(i, &Plain.nibbles(bytes_at(block, 2)));
        scales[i].copy_from_slice(&block[..2]);
    }
}
