//! TQ2_0: 256 weights of −1, 0 or 1 share one f16 scale.
//!
//! A block of 66 bytes (`block_tq2_0` in ggml-common.h): 0–63 q (256 × 2 bits, in runs of 32: see [`pairs`]) · 64–65 d (f16).
//! `w[i] = d · (q[i] − 1)`.
//!
//! A unit is 64 weights. Plane 0: 16 bytes for each unit, see [`pack_crossed`]. Plane 1: the d of each block.

use super::block::{self, Block, pairs};
use super::bytes::Bytes;
use super::planes::{pack_crossed, plane_row, planes_of, row_blocks};
use super::q2_k::unit_pairs;
use super::{Format, Plane};

pub(super) static TQ2_0: Format = Format {
    name: "TQ2_0",
    id: 35,
    weights: 256,
    bytes: 66,
    decode: block::decode::<Tq2, 66, 256>,
    encode: None,
    groups: block::groups::<Tq2, 66, 256>(),
    dot: block::dot::<Tq2, 66, 256>,
    wgsl: "tq2_0",
    unit: 64,
    planes: &[Plane { weights: 64, bytes: 16 }, Plane { weights: 256, bytes: 2 }],
    grid: None,
    repack,
    integer: true,
};

struct Tq2;

impl Block<66, 256> for Tq2 {
    const OFFSET: u8 = 1;
    const MOST: u8 = 3;
    type Header = f32;

    #[inline(always)]
    fn header<V: Bytes>(v: V, block: &[u8; 66]) -> f32 {
        v.f16(block, 64)
    }

    #[inline(always)]
    fn codes<V: Bytes>(v: V, block: &[u8; 66], run: usize) -> V::All {
        pairs(v, block, 0, run)
    }

    #[inline(always)]
    fn scale(_: &[u8; 66], d: &f32, _: usize) -> [f32; 2] {
        [*d; 2]
    }
}

fn repack(row: &[u8], _cols: usize, planes: &mut [&mut [u8]]) {
    let blocks = row_blocks::<66>(row);
    let [quants, scales] = planes_of("TQ2_0", planes);
    let quants = plane_row::<16>(quants, 4 * blocks.len());
    for (i, (block, scale)) in blocks.iter().zip(plane_row::<2>(scales, blocks.len())).enumerate() {
        for unit in 0..4 {
            quants[4 * i + unit] = pack_crossed(&unit_pairs(block, 0, unit));
        }
        scale.copy_from_slice(&block[64..]);
    }
}
