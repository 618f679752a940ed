//! Q4_1: 32 weights share one f16 scale and one f16 offset.
//!
//! A block of 20 bytes (`block_q4_1` in ggml-common.h): 0–1 d (f16) · 2–3 m (f16) · 4–19 q (32 × 4 bits, as in Q4_0).
//! `w[i] = d · q[i] + m`.
//!
//! A unit is two blocks; a row of an odd number of them is padded with zeros. Plane 0: [`Nibbles`], the high ones signed.
//! Plane 1: d and m of each block.

use super::block::{self, Block, bytes_at, f16_at};
use super::bytes::{Bytes, Plain};
use super::planes::{Nibbles, plane_row, planes_of, row_blocks};
use super::{Format, Plane};

pub(super) static Q4_1: Format = Format {
    name: "Q4_1",
    id: 3,
    weights: 32,
    bytes: 20,
    decode: block::decode::<Q4, 20, 32>,
    encode: None,
    groups: block::groups::<Q4, 20, 32>(),
    dot: block::dot::<Q4, 20, 32>,
    wgsl: "q4_1",
    unit: 64,
    planes: &[Plane { weights: 64, bytes: 32 }, Plane { weights: 64, bytes: 8 }],
    grid: None,
    repack,
    integer: true,
};

struct Q4;

impl Block<20, 32> for Q4 {
    const AFFINE: bool = true;
    const MOST: u8 = 15;
    const SCALE_AT: Option<usize> = Some(0);
    const OFFSET_AT: Option<usize> = Some(2);
    type Header = ();

    #[inline(always)]
    fn header<V: Bytes>(_: V, _: &[u8; 20]) {}

    #[inline(always)]
    fn codes<V: Bytes>(v: V, block: &[u8; 20], _: usize) -> V::All {
        v.nibbles(bytes_at(block, 4))
    }

    #[inline(always)]
    fn scale(block: &[u8; 20], _: &(), _: usize) -> [f32; 2] {
        [f16_at(block, 0); 2]
    }

    #[inline(always)]
    fn minimum(block: &[u8; 20], _: &(), _: usize) -> [f32; 2] {
        [-f16_at(block, 2); 2]
    }
}

fn repack(row: &[u8], _cols: usize, planes: &mut [&mut [u8]]) {
    let blocks = row_blocks::<20>(row);
    let [quants, scales] = planes_of("Q4_1", planes);
    let units = blocks.len().div_ceil(2);
    let mut quants = Nibbles::new(quants, units);
    let scales = plane_row::<4>(scales, 2 * units);
    scales.fill([0; 4]);
    for (i, block) in blocks.iter().enumerate() {
        quants.put_signed(i, &Plain.nibbles(bytes_at(block, 4)));
        scales[i].copy_from_slice(&block[..4]);
    }
}
