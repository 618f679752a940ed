//! Q6_K: 256 weights in 16 groups of 16, each with an 8-bit scale.
//!
//! A block of 210 bytes (`block_q6_K` in ggml-common.h): 0–127 the low 4 bits of q · 128–191 the high 2 bits of q ·
//! 192–207 scales (16 × i8) · 208–209 d (f16). Each half of the weights has 64 bytes of low and 32 of high bits: see
//! [`quants`]. `w[i] = d · scale[i / 16] · (q[i] − 32)`.
//!
//! A unit is four groups. Two bits of each q are in plane 1 and four in plane 0: of groups 0 and 2 the high two and the low
//! four, of groups 1 and 3 the low two and the high four, less 8, see [`sign_high_halves`]. Plane 0: for each row groups 0
//! and 1 of all units, then groups 2 and 3; the even group is in the low halves, the odd one in the high halves. Plane 1:
//! a u32 for each group: byte i holds weights i, i + 4, i + 8, i + 12 from its lowest bits up, so that one shift and one
//! mask place the bits of four consecutive weights. Plane 2, for each block, five u32: the 16 scales, then d as f32.

use super::{Format, Plane, each_block, f16_at, pack_nibbles, plane_row, row, row_blocks, sign_high_halves};

pub(super) static Q6_K: Format = Format {
    name: "Q6_K",
    id: 14,
    weights: 256,
    bytes: 210,
    decode,
    dot: row::dot::<Block, 210, 256>,
    wgsl: "q6_k",
    unit: 64,
    planes: &[
        Plane { weights: 64, bytes: 32 },
        Plane { weights: 64, bytes: 16 },
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
    let [nibbles, pairs, scales] = planes else {
        panic!("Q6_K: repack writes 3 planes, not {}", planes.len())
    };
    let units = 4 * blocks.len();
    let nibbles = plane_row::<16>(nibbles, 2 * units);
    let pairs = plane_row::<8>(pairs, 2 * units);
    let scales = plane_row::<20>(scales, blocks.len());
    for (i, (block, scales)) in blocks.iter().zip(scales).enumerate() {
        for (half, q) in quants(block).as_chunks::<32>().0.iter().enumerate() {
            let at = &mut nibbles[half % 2 * units + 4 * i + half / 2];
            *at = pack_nibbles(&std::array::from_fn(|i| if i < 16 { q[i] } else { q[i] >> 2 }));
            sign_high_halves(at);
            pairs[8 * i + half] = pack_pairs(&std::array::from_fn(|i| if i < 16 { q[i] >> 4 } else { q[i] }));
        }
        scales[..16].copy_from_slice(&block[192..208]);
        scales[16..].copy_from_slice(&f16_at(block, 208).to_le_bytes());
    }
}

/// Packs the low 2 bits of 32 values: byte i of the first (second) four bytes holds those of the first (second) 16
/// values i, i + 4, i + 8, i + 12.
fn pack_pairs(values: &[u8; 32]) -> [u8; 8] {
    std::array::from_fn(|at| {
        let (half, i) = (at / 4 * 16, at % 4);
        (0..4).fold(0, |byte, four| byte | (values[half + 4 * four + i] & 3) << (2 * four))
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
