//! Q5_K: 256 weights in 8 sub-blocks of 32, each with a 6-bit scale and a 6-bit minimum.
//!
//! A block of 176 bytes (`block_q5_K` in ggml-common.h): 0–15 d, dmin, scales and minimums as in Q4_K · 16–47 the fifth bits of
//! q (bit s of byte i: weight i of sub-block s) · 48–175 the low 4 bits of q, as in Q4_K. `w[i] = d · scale[s] · q[i] − dmin ·
//! minimum[s]`, `s = i / 32`.
//!
//! A unit is two sub-blocks. Plane 0: [`Nibbles`] of 5 bits. Plane 1, for each block 13 u32: for each unit the other bit of each
//! weight of its first sub-block, of its second one, and their two scales and two minimums, a byte each; then d and dmin.

use super::block::{self, Block, bytes_at, u32_at};
use super::bytes::{Bytes, Plain};
use super::encode::{Steps, each_block};
use super::planes::{Nibbles, plane_row, planes_of, put_words, row_blocks};
use super::q4_k::{Scales, encode_block, steps, sub_block};
use super::{Format, Plane};

pub(super) static Q5_K: Format = Format {
    name: "Q5_K",
    id: 13,
    weights: 256,
    bytes: 176,
    decode: block::decode::<Q5, 176, 256>,
    encode: Some(encode),
    groups: block::groups::<Q5, 176, 256>(),
    dot: block::dot::<Q5, 176, 256>,
    wgsl: "q5_k",
    unit: 64,
    planes: &[Plane { weights: 64, bytes: 32 }, Plane { weights: 256, bytes: 52 }],
    grid: None,
    repack,
    integer: true,
};

struct Q5;

impl Block<176, 256> for Q5 {
    const AFFINE: bool = true;
    const MOST: u8 = 31;
    type Header = Scales;

    #[inline(always)]
    fn header<V: Bytes>(v: V, block: &[u8; 176]) -> Scales {
        Scales::of(v, block)
    }

    #[inline(always)]
    fn codes<V: Bytes>(v: V, block: &[u8; 176], s: usize) -> V::All {
        quants(v, block, s)
    }

    #[inline(always)]
    fn scale(_: &[u8; 176], header: &Scales, s: usize) -> [f32; 2] {
        [header.scale[s]; 2]
    }

    #[inline(always)]
    fn minimum(_: &[u8; 176], header: &Scales, s: usize) -> [f32; 2] {
        [header.minimum[s]; 2]
    }
}

fn encode(weights: &[f32], blocks: &mut [u8]) {
    each_block(weights, blocks, |w: &[f32; 256], block: &mut [u8; 176]| {
        let quants = encode_block(w, block, 31, &Steps { first: -0.5, count: 15 });
        for i in 0..32 {
            block[16 + i] = (0..8).map(|s| quants[s][i] >> 4 << s).sum();
            for pair in 0..4 {
                block[48 + 32 * pair + i] = quants[2 * pair][i] & 15 | (quants[2 * pair + 1][i] & 15) << 4;
            }
        }
    });
}

fn repack(row: &[u8], _cols: usize, planes: &mut [&mut [u8]]) {
    let blocks = row_blocks::<176>(row);
    let [nibbles, headers] = planes_of("Q5_K", planes);
    let mut nibbles = Nibbles::new(nibbles, 4 * blocks.len());
    let headers = plane_row::<52>(headers, blocks.len());
    for (i, (block, header)) in blocks.iter().zip(headers).enumerate() {
        let steps = steps(block);
        for unit in 0..4 {
            let [first, second] =
                [2 * unit, 2 * unit + 1].map(|s| nibbles.put_five_bits(8 * i + s, &quants(Plain, block, s)));
            put_words(&mut header[12 * unit..], &[first, second, u32_at(&steps, 4 * unit)]);
        }
        put_words(&mut header[48..], &[u32_at(block, 0)]);
    }
}

/// The 32 quants of sub-block `s`, 0 to 31 each.
#[inline(always)]
fn quants<V: Bytes>(v: V, block: &[u8], s: usize) -> V::All {
    v.or(sub_block(v, block, 48, s), v.bits(v.load(bytes_at(block, 16)), s, 1, 4))
}
