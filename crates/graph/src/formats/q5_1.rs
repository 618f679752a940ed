//! Q5_1: 32 weights share one f16 scale and one f16 offset.
//!
//! A block of 24 bytes (`block_q5_1` in ggml-common.h): 0–1 d (f16) · 2–3 m (f16) · 4–7 the fifth bits of q (bit i: weight i) ·
//! 8–23 the low 4 bits of q, as in Q4_0. `w[i] = d · q[i] + m`.
//!
//! A unit is two blocks; a row of an odd number of them is padded with zeros. Plane 0: [`Nibbles`] of 5 bits. Plane 1, for each
//! unit four u32: the other bit of each weight of the first block, of the second one, then d and m of the first block, of the
//! second one.

use super::block::{self, Block, f16_at};
use super::bytes::{Bytes, Plain};
use super::encode::{Steps, affine, each_block, put_f16};
use super::planes::{Nibbles, plane_row, planes_of, row_blocks};
use super::q5_0::{five_bits, put_five_bits};
use super::{Format, Plane};

pub(super) static Q5_1: Format = Format {
    name: "Q5_1",
    id: 7,
    weights: 32,
    bytes: 24,
    decode: block::decode::<Q5, 24, 32>,
    encode: Some(encode),
    groups: block::groups::<Q5, 24, 32>(),
    dot: block::dot::<Q5, 24, 32>,
    wgsl: "q5_1",
    unit: 64,
    planes: &[Plane { weights: 64, bytes: 32 }, Plane { weights: 64, bytes: 16 }],
    grid: None,
    repack,
    integer: true,
};

struct Q5;

impl Block<24, 32> for Q5 {
    const AFFINE: bool = true;
    const MOST: u8 = 31;
    const SCALE_AT: Option<usize> = Some(0);
    const OFFSET_AT: Option<usize> = Some(2);
    type Header = ();

    #[inline(always)]
    fn header<V: Bytes>(_: V, _: &[u8; 24]) {}

    #[inline(always)]
    fn codes<V: Bytes>(v: V, block: &[u8; 24], _: usize) -> V::All {
        five_bits(v, block, 4)
    }

    #[inline(always)]
    fn scale(block: &[u8; 24], _: &(), _: usize) -> [f32; 2] {
        [f16_at(block, 0); 2]
    }

    #[inline(always)]
    fn minimum(block: &[u8; 24], _: &(), _: usize) -> [f32; 2] {
        [-f16_at(block, 2); 2]
    }
}

/// By the search of the K formats, all weights alike; ggml's reference goes from the smallest weight to the largest, which costs more error.
fn encode(weights: &[f32], blocks: &mut [u8]) {
    each_block(weights, blocks, |w: &[f32; 32], block: &mut [u8; 24]| {
        // The search knows offsets below 0.
        let above = w.iter().copied().fold(f32::INFINITY, f32::min).max(0.0);
        let (scale, minimum, q) =
            affine(&w.map(|w| w - above), &[1.0; 32], 31, &Steps { first: -1.0, count: 20 });
        put_f16(block, 0, scale);
        put_f16(block, 2, above - minimum);
        put_five_bits(&mut block[4..], &q);
    });
}

fn repack(row: &[u8], _cols: usize, planes: &mut [&mut [u8]]) {
    let blocks = row_blocks::<24>(row);
    let [quants, headers] = planes_of("Q5_1", planes);
    let units = blocks.len().div_ceil(2);
    let mut quants = Nibbles::new(quants, units);
    let headers = plane_row::<16>(headers, units);
    headers.fill([0; 16]);
    for (i, block) in blocks.iter().enumerate() {
        let (header, second) = (&mut headers[i / 2], i % 2);
        let bits = quants.put_five_bits(i, &five_bits(Plain, block, 4));
        header[4 * second..][..4].copy_from_slice(&bits.to_le_bytes());
        header[8 + 4 * second..][..4].copy_from_slice(&block[..4]);
    }
}
