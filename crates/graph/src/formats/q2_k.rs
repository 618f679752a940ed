//! Q2_K: 256 weights in 16 groups of 16, each with a 4-bit scale and a 4-bit minimum.
//!
//! A block of 84 bytes (`block_q2_K` in ggml-common.h): 0–15 scale (low half) and minimum (high half) of each group · 16–79 q (256 ×
//! 2 bits, in runs of 32: see [`pairs`]) · 80–81 d (f16) · 82–83 dmin (f16). `w[i] = d · scale[i / 16] · q[i] − dmin ·
//! minimum[i / 16]`.
//!
//! A unit is four groups. Plane 0: 16 bytes for each unit, see [`pack_crossed`]. Plane 1, for each block five u32: for each unit its four
//! bytes of scales and minimums; then d and dmin.

use super::block::{self, Block, pairs};
use super::bytes::{Bytes, Plain};
use super::planes::{pack_crossed, plane_row, planes_of, row_blocks};
use super::{Format, Plane};

pub(super) static Q2_K: Format = Format {
    name: "Q2_K",
    id: 10,
    weights: 256,
    bytes: 84,
    decode: block::decode::<Q2, 84, 256>,
    encode: None,
    groups: block::groups::<Q2, 84, 256>(),
    dot: block::dot::<Q2, 84, 256>,
    wgsl: "q2_k",
    unit: 64,
    planes: &[Plane { weights: 64, bytes: 16 }, Plane { weights: 256, bytes: 20 }],
    grid: None,
    repack,
    integer: true,
};

struct Q2;

impl Block<84, 256> for Q2 {
    const AFFINE: bool = true;
    const ONE_SCALE: bool = false;
    const MOST: u8 = 3;
    type Header = ([f32; 16], [f32; 16]);

    #[inline(always)]
    fn header<V: Bytes>(v: V, block: &[u8; 84]) -> Self::Header {
        let (d, dmin) = (v.f16(block, 80), v.f16(block, 82));
        let (mut scales, mut minimums) = ([0.0; 16], [0.0; 16]);
        for g in 0..16 {
            scales[g] = d * f32::from(block[g] & 15);
            minimums[g] = dmin * f32::from(block[g] >> 4);
        }
        (scales, minimums)
    }

    #[inline(always)]
    fn codes<V: Bytes>(v: V, block: &[u8; 84], run: usize) -> V::All {
        pairs(v, block, 16, run)
    }

    #[inline(always)]
    fn scale(_: &[u8; 84], (scales, _): &Self::Header, run: usize) -> [f32; 2] {
        [scales[2 * run], scales[2 * run + 1]]
    }

    #[inline(always)]
    fn minimum(_: &[u8; 84], (_, minimums): &Self::Header, run: usize) -> [f32; 2] {
        [minimums[2 * run], minimums[2 * run + 1]]
    }
}

fn repack(row: &[u8], _cols: usize, planes: &mut [&mut [u8]]) {
    let blocks = row_blocks::<84>(row);
    let [quants, headers] = planes_of("Q2_K", planes);
    let quants = plane_row::<16>(quants, 4 * blocks.len());
    let headers = plane_row::<20>(headers, blocks.len());
    for (i, (block, header)) in blocks.iter().zip(headers).enumerate() {
        for unit in 0..4 {
            quants[4 * i + unit] = pack_crossed(&unit_pairs(block, 16, unit));
        }
        header[..16].copy_from_slice(&block[..16]);
        header[16..].copy_from_slice(&block[80..84]);
    }
}

/// The 2 bits of the 64 weights of unit `unit` of a block, see [`pairs`].
pub(super) fn unit_pairs(block: &[u8], at: usize, unit: usize) -> [u8; 64] {
    let runs = [pairs(Plain, block, at, 2 * unit), pairs(Plain, block, at, 2 * unit + 1)];
    std::array::from_fn(|i| runs[i / 32][i % 32])
}
