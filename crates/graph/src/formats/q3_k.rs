//! Q3_K: 256 weights in 16 groups of 16, each with a 6-bit scale.
//!
//! A block of 110 bytes (`block_q3_K` in ggml-common.h): 0–31 the third bits of q (bit r of byte i: weight i of run r) · 32–95 the
//! low 2 bits of q, in runs of 32, see [`pairs`] · 96–107 scales, see [`scales`] · 108–109 d (f16).
//! `w[i] = d · (scale[i / 16] − 32) · (q[i] − 4)`.
//!
//! A unit is four groups. Plane 0: the low 2 bits, a u32 for each group, see [`pack_pairs`]. Plane 1, for
//! each block 13 u32: for each unit the third bits of its first 32 weights, of its last 32, see [`pack_bits`], and its four scales
//! less 32; then d as f32.

use super::block::{self, Block, bytes_at, f16_at, pairs, u32_at};
use super::bytes::{Bytes, Plain};
use super::planes::{pack_bits, pack_pairs, plane_row, planes_of, put_words, row_blocks};
use super::{Format, Plane};

pub(super) static Q3_K: Format = Format {
    name: "Q3_K",
    id: 11,
    weights: 256,
    bytes: 110,
    decode: block::decode::<Q3, 110, 256>,
    encode: None,
    groups: block::groups::<Q3, 110, 256>(),
    dot: block::dot::<Q3, 110, 256>,
    wgsl: "q3_k",
    unit: 64,
    planes: &[Plane { weights: 64, bytes: 16 }, Plane { weights: 256, bytes: 52 }],
    grid: None,
    repack,
    integer: true,
};

struct Q3;

impl Block<110, 256> for Q3 {
    const ONE_SCALE: bool = false;
    const OFFSET: u8 = 4;
    const MOST: u8 = 7;
    type Header = [f32; 16];

    #[inline(always)]
    fn header<V: Bytes>(v: V, block: &[u8; 110]) -> [f32; 16] {
        v.times(v.f16(block, 108), &scales(block))
    }

    #[inline(always)]
    fn codes<V: Bytes>(v: V, block: &[u8; 110], run: usize) -> V::All {
        v.or(pairs(v, block, 32, run), v.bits(v.load(bytes_at(block, 0)), run, 1, 2))
    }

    #[inline(always)]
    fn scale(_: &[u8; 110], scales: &[f32; 16], run: usize) -> [f32; 2] {
        [scales[2 * run], scales[2 * run + 1]]
    }
}

fn repack(row: &[u8], _cols: usize, planes: &mut [&mut [u8]]) {
    let blocks = row_blocks::<110>(row);
    let [quants, headers] = planes_of("Q3_K", planes);
    let quants = plane_row::<4>(quants, 16 * blocks.len());
    let headers = plane_row::<52>(headers, blocks.len());
    for (i, (block, header)) in blocks.iter().zip(headers).enumerate() {
        let steps = scales(block).map(|scale| scale as u8);
        for run in 0..8 {
            for (half, pairs) in pairs(Plain, block, 32, run).as_chunks().0.iter().enumerate() {
                quants[16 * i + 2 * run + half] = pack_pairs(pairs).to_le_bytes();
            }
        }
        for unit in 0..4 {
            let [first, second] =
                [2 * unit, 2 * unit + 1].map(|run| pack_bits(&std::array::from_fn(|i| block[i] >> run)));
            put_words(&mut header[12 * unit..], &[first, second, u32_at(&steps, 4 * unit)]);
        }
        put_words(&mut header[48..], &[f16_at(block, 108).to_bits()]);
    }
}

/// The 16 scales less 32. Of the block's bytes 96–107, the first eight hold the low 4 bits of scales 0–7 (low halves) and 8–15
/// (high halves); bits 2j and 2j + 1 of the last four are the high bits of scales 4j to 4j + 3.
#[inline(always)]
fn scales(block: &[u8; 110]) -> [i8; 16] {
    let mut scales = [0; 16];
    for g in 0..16 {
        let low = block[96 + g % 8] >> (g / 8 * 4) & 15;
        let high = block[104 + g % 4] >> (g / 4 * 2) & 3;
        scales[g] = (low | high << 4) as i8 - 32;
    }
    scales
}
