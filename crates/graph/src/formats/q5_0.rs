//! Q5_0: 32 weights share one f16 scale.
//!
//! A block of 22 bytes (`block_q5_0` in ggml-common.h): 0–1 d (f16) · 2–5 the fifth bits of q (bit i: weight i) · 6–21 the low
//! 4 bits of q, as in Q4_0. `w[i] = d · (q[i] − 16)`.
//!
//! A unit is two blocks; a row of an odd number of them is padded with zeros. Plane 0: [`Nibbles`] of 5 bits. Plane 1, for each
//! unit three u32: the other bit of each weight of the first block, of the second one, and the d of both.

use super::block::{self, Block, bytes_at, f16_at, u32_at};
use super::bytes::{Bytes, Plain};
use super::encode::{each_block, furthest, inverse, put_f16};
use super::planes::{Nibbles, plane_row, planes_of, row_blocks};
use super::{Format, Plane};

pub(super) static Q5_0: Format = Format {
    name: "Q5_0",
    id: 6,
    weights: 32,
    bytes: 22,
    decode: block::decode::<Q5, 22, 32>,
    encode: Some(encode),
    groups: block::groups::<Q5, 22, 32>(),
    dot: block::dot::<Q5, 22, 32>,
    wgsl: "q5_0",
    unit: 64,
    planes: &[Plane { weights: 64, bytes: 32 }, Plane { weights: 64, bytes: 12 }],
    grid: None,
    repack,
    integer: true,
};

struct Q5;

impl Block<22, 32> for Q5 {
    const OFFSET: u8 = 16;
    const MOST: u8 = 31;
    const SCALE_AT: Option<usize> = Some(0);
    type Header = ();

    #[inline(always)]
    fn header<V: Bytes>(_: V, _: &[u8; 22]) {}

    #[inline(always)]
    fn codes<V: Bytes>(v: V, block: &[u8; 22], _: usize) -> V::All {
        five_bits(v, block, 2)
    }

    #[inline(always)]
    fn scale(block: &[u8; 22], _: &(), _: usize) -> [f32; 2] {
        [f16_at(block, 0); 2]
    }
}

/// The weight furthest from 0 becomes −16 (`quantize_row_q5_0_ref`).
fn encode(weights: &[f32], blocks: &mut [u8]) {
    each_block(weights, blocks, |w: &[f32; 32], block: &mut [u8; 22]| {
        let d = furthest(w) / -16.0;
        let inverse = inverse(d);
        put_f16(block, 0, d);
        put_five_bits(&mut block[2..], &w.map(|w| ((w * inverse + 16.5) as u8).min(31)));
    });
}

/// The fifth bits of 32 values as a u32, then their low halves.
pub(super) fn put_five_bits(bytes: &mut [u8], q: &[u8; 32]) {
    let high: u32 = (0..32).map(|i| u32::from(q[i] >> 4) << i).sum();
    bytes[..4].copy_from_slice(&high.to_le_bytes());
    for j in 0..16 {
        bytes[4 + j] = q[j] & 15 | (q[j + 16] & 15) << 4;
    }
}

fn repack(row: &[u8], _cols: usize, planes: &mut [&mut [u8]]) {
    let blocks = row_blocks::<22>(row);
    let [quants, headers] = planes_of("Q5_0", planes);
    let units = blocks.len().div_ceil(2);
    let mut quants = Nibbles::new(quants, units);
    let headers = plane_row::<12>(headers, units);
    headers.fill([0; 12]);
    for (i, block) in blocks.iter().enumerate() {
        let (header, second) = (&mut headers[i / 2], i % 2);
        let bits = quants.put_five_bits(i, &five_bits(Plain, block, 2));
        header[4 * second..][..4].copy_from_slice(&bits.to_le_bytes());
        header[8 + 2 * second..][..2].copy_from_slice(&block[..2]);
    }
}

/// The 32 values of 5 bits whose highest ones are the u32 at `at`, and whose others are the nibbles behind it.
#[inline(always)]
pub(super) fn five_bits<V: Bytes>(v: V, block: &[u8], at: usize) -> V::All {
    v.spread(v.nibbles(bytes_at(block, at + 4)), u32_at(block, at), 4)
}
