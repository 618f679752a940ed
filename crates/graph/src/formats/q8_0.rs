//! Q8_0: 32 weights share one f16 scale.
//!
//! A block of 34 bytes (`block_q8_0` in ggml-common.h): 0–1 d (f16) · 2–33 q (32 × i8). `w[i] = d · q[i]`.
//!
//! A unit is two blocks; a row of an odd number of them is padded with zeros. Plane 0: for each row the first 16 q of all
//! units, then the second, third and fourth 16. Plane 1: the d of each block.

use super::block::{self, Block, bytes_at, f16_at};
use super::bytes::Bytes;
use super::encode::{each_block, furthest, inverse, put_f16};
use super::planes::{plane_row, planes_of, row_blocks};
use super::{Format, Plane};

pub(super) static Q8_0: Format = Format {
    name: "Q8_0",
    id: 8,
    weights: 32,
    bytes: 34,
    decode: block::decode::<Q8, 34, 32>,
    encode: Some(encode),
    groups: block::groups::<Q8, 34, 32>(),
    dot: block::dot::<Q8, 34, 32>,
    wgsl: "q8_0",
    unit: 64,
    planes: &[Plane { weights: 64, bytes: 64 }, Plane { weights: 64, bytes: 4 }],
    grid: None,
    repack,
    integer: true,
};

struct Q8;

impl Block<34, 32> for Q8 {
    const OFFSET: u8 = 128;
    const SCALE_AT: Option<usize> = Some(0);
    type Header = ();

    #[inline(always)]
    fn header<V: Bytes>(_: V, _: &[u8; 34]) {}

    #[inline(always)]
    fn codes<V: Bytes>(v: V, block: &[u8; 34], _: usize) -> V::All {
        v.raised(v.load(bytes_at(block, 2)), Self::OFFSET)
    }

    #[inline(always)]
    fn scale(block: &[u8; 34], _: &(), _: usize) -> [f32; 2] {
        [f16_at(block, 0); 2]
    }
}

/// The weight furthest from 0 becomes ±127 (`quantize_row_q8_0_ref`).
fn encode(weights: &[f32], blocks: &mut [u8]) {
    each_block(weights, blocks, |w: &[f32; 32], block: &mut [u8; 34]| {
        let d = furthest(w).abs() / 127.0;
        let inverse = inverse(d);
        put_f16(block, 0, d);
        for i in 0..32 {
            block[2 + i] = (w[i] * inverse).round() as i8 as u8;
        }
    });
}

fn repack(row: &[u8], _cols: usize, planes: &mut [&mut [u8]]) {
    let blocks = row_blocks::<34>(row);
    let [quants, scales] = planes_of("Q8_0", planes);
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
