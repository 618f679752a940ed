//! Q6_K: 256 weights in 16 groups of 16, each with an 8-bit scale.
//!
//! A block of 210 bytes (`block_q6_K` in ggml-common.h): 0–127 the low 4 bits of q · 128–191 the high 2 bits of q ·
//! 192–207 scales (16 × i8) · 208–209 d (f16). Each half of the weights has 64 bytes of low and 32 of high bits: see
//! [`quants`]. `w[i] = d · scale[i / 16] · (q[i] − 32)`.
//!
//! A unit is 32 weights, two groups. Plane 0: the low 4 bits of its q, packed as in Q4_0. Plane 1: their high 2 bits,
//! two u32: one of weights 0–15, one of 16–31; byte i holds weights i, i + 4, i + 8, i + 12 of these from its lowest
//! bits up, so that one shift and one mask move the high bits of four consecutive weights above their low bits.
//! Plane 2, for each block, five u32: the 16 scales, then d as f32.

use super::{Format, Plane, each_block, f16_at, pack_nibbles, plane_row, row, row_blocks};

pub(super) static Q6_K: Format = Format {
    name: "Q6_K",
    id: 14,
    weights: 256,
    bytes: 210,
    decode,
    dot: row::dot::<Block, 210, 256>,
    wgsl: "q6_k",
    unit: 32,
    planes: &[
        Plane { weights: 32, bytes: 16 },
        Plane { weights: 32, bytes: 8 },
        Plane { weights: 256, bytes: 20 },
    ],
    repack,
    integer: true,
};

fn decode(blocks: &[u8], weights: &mut [f32]) {
    for (block, w) in each_block::<210, 256>(blocks, weights) {
        let d = f16_at(block, 208);
        let quants = quants(block);
        for (g, w) in w.as_chunks_mut::<16>().0.iter_mut().enumerate() {
            let scale = d * f32::from(block[192 + g] as i8);
            for (w, q) in w.iter_mut().zip(&quants[g * 16..]) {
                *w = scale * f32::from(*q as i8 - 32);
            }
        }
    }
}

struct Block;

impl row::Products<210, 256> for Block {
    #[inline(always)]
    fn of(block: &[u8; 210], x: &[f32; 256]) -> [f32; row::SUMS] {
        let d = row::scale(block, 208);
        let quants = quants(block);
        let mut scales = [0.0; 16];
        for (scale, s) in scales.iter_mut().zip(&block[192..]) {
            *scale = d * f32::from(*s as i8);
        }
        let mut sums = [0.0; row::SUMS];
        let groups = quants.as_chunks::<16>().0.iter().zip(x.as_chunks::<16>().0);
        for (scale, (q, x)) in scales.iter().zip(groups) {
            for (i, sum) in sums.iter_mut().enumerate() {
                *sum += scale * (f32::from(q[i] as i8 - 32) * x[i]);
            }
        }
        sums
    }
}

fn repack(row: &[u8], _cols: usize, planes: &mut [&mut [u8]]) {
    let blocks = row_blocks::<210>(row);
    let [low, high, scales] = planes else { panic!("Q6_K: repack writes 3 planes, not {}", planes.len()) };
    let low = plane_row::<128>(low, blocks.len());
    let high = plane_row::<64>(high, blocks.len());
    let scales = plane_row::<20>(scales, blocks.len());
    for (((block, low), high), scales) in blocks.iter().zip(low).zip(high).zip(scales) {
        let quants = quants(block);
        let units = quants.as_chunks::<32>().0;
        let (low, high) = (low.as_chunks_mut::<16>().0, high.as_chunks_mut::<8>().0);
        for ((unit, low), high) in units.iter().zip(low).zip(high) {
            *low = pack_nibbles(unit);
            *high = pack_high_bits(unit);
        }
        scales[..16].copy_from_slice(&block[192..208]);
        scales[16..].copy_from_slice(&f16_at(block, 208).to_le_bytes());
    }
}

/// Packs bits 4 and 5 of 32 quants: byte i of the first (second) four bytes holds those of the first (second) 16
/// quants i, i + 4, i + 8, i + 12.
fn pack_high_bits(unit: &[u8; 32]) -> [u8; 8] {
    std::array::from_fn(|at| {
        let (half, i) = (at / 4 * 16, at % 4);
        (0..4).fold(0, |byte, four| byte | unit[half + 4 * four + i] >> 4 << (2 * four))
    })
}

/// The 256 quants of a block, 0 to 63 each. A half is four runs of 32: the low bits of runs 0 and 1 are the low halves
/// of its 64 bytes, those of runs 2 and 3 the high halves; run r has bits 2r and 2r + 1 of its 32 bytes of high bits.
#[inline(always)]
fn quants(block: &[u8; 210]) -> [u8; 256] {
    let mut quants = [0; 256];
    for (half, quants) in quants.as_chunks_mut::<128>().0.iter_mut().enumerate() {
        let (low, high) = (&block[64 * half..][..64], &block[128 + 32 * half..][..32]);
        for (run, quants) in quants.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            let low = &low[run % 2 * 32..][..32];
            let (low_shift, high_shift) = (run / 2 * 4, run * 2);
            for i in 0..32 {
                quants[i] = low[i] >> low_shift & 15 | (high[i] >> high_shift & 3) << 4;
            }
        }
    }
    quants
}
