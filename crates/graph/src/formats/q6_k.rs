//! Q6_K: 256 weights in 16 groups of 16, each with an 8-bit scale.
//!
//! A block of 210 bytes (`block_q6_K` in ggml-common.h): 0–127 the low 4 bits of q · 128–191 the high 2 bits of q ·
//! 192–207 scales (16 × i8) · 208–209 d (f16). Each half of the weights has 64 bytes of low and 32 of high bits: see
//! [`quants`]. `w[i] = d · scale[i / 16] · (q[i] − 32)`.
//!
//! A unit is four groups. Two bits of each q are in plane 1 and four in plane 0: of groups 0 and 2 the high two and the low
//! four, of groups 1 and 3 the low two and the high four, signed. Plane 0: [`Nibbles`]. Plane 1: a u32 for each group, see
//! [`pack_pairs`]. Plane 2, for each block, five u32: the 16 scales, then d as f32.

use super::block::{self, Block, bytes_at, f16_at};
use super::bytes::{Bytes, Plain};
use super::encode::{LEAST_SCALE, each_block, furthest, nearest, put_f16, scale_of};
use super::planes::{Nibbles, pack_pairs, plane_row, planes_of, row_blocks};
use super::{Format, Plane};

pub(super) static Q6_K: Format = Format {
    name: "Q6_K",
    id: 14,
    weights: 256,
    bytes: 210,
    decode: block::decode::<Q6, 210, 256>,
    encode: Some(encode),
    groups: block::groups::<Q6, 210, 256>(),
    dot: block::dot::<Q6, 210, 256>,
    wgsl: "q6_k",
    unit: 64,
    planes: &[
        Plane { weights: 64, bytes: 32 },
        Plane { weights: 64, bytes: 16 },
        Plane { weights: 256, bytes: 20 },
    ],
    grid: None,
    repack,
    integer: true,
};

struct Q6;

impl Block<210, 256> for Q6 {
    const ONE_SCALE: bool = false;
    const OFFSET: u8 = 32;
    const MOST: u8 = 63;
    const AHEAD: bool = true;
    type Header = [f32; 16];

    #[inline(always)]
    fn header<V: Bytes>(v: V, block: &[u8; 210]) -> [f32; 16] {
        v.times(v.f16(block, 208), bytemuck::cast_ref(bytes_at::<16>(block, 192)))
    }

    #[inline(always)]
    fn codes<V: Bytes>(v: V, block: &[u8; 210], run: usize) -> V::All {
        quants(v, block, run)
    }

    #[inline(always)]
    fn scale(_: &[u8; 210], scales: &[f32; 16], run: usize) -> [f32; 2] {
        [scales[2 * run], scales[2 * run + 1]]
    }
}

/// `quantize_row_q6_K_ref`.
fn encode(weights: &[f32], blocks: &mut [u8]) {
    each_block(weights, blocks, |w: &[f32; 256], block: &mut [u8; 210]| {
        block.fill(0);
        let groups = w.as_chunks::<16>().0;
        let mut q = [0; 256];
        let mut scales = [0.0; 16];
        for (g, q) in q.as_chunks_mut::<16>().0.iter_mut().enumerate() {
            (scales[g], *q) = scale_of(&groups[g], 32);
        }
        let furthest = furthest(&scales);
        if furthest.abs() < LEAST_SCALE {
            return;
        }
        let inverse = -128.0 / furthest;
        let d = put_f16(block, 208, 1.0 / inverse);
        for g in 0..16 {
            let scale = nearest(inverse * scales[g], -128, 127) as i8;
            block[192 + g] = scale as u8;
            let d = d * f32::from(scale);
            if d != 0.0 {
                for i in 16 * g..16 * g + 16 {
                    q[i] = (nearest(w[i] / d, -32, 31) + 32) as u8;
                }
            }
        }
        for (i, q) in q.into_iter().enumerate() {
            let (half, run, at) = (i / 128, i / 32 % 4, i % 32);
            block[64 * half + run % 2 * 32 + at] |= (q & 15) << (run / 2 * 4);
            block[128 + 32 * half + at] |= (q >> 4) << (run * 2);
        }
    });
}

fn repack(row: &[u8], _cols: usize, planes: &mut [&mut [u8]]) {
    let blocks = row_blocks::<210>(row);
    let [nibbles, pairs, scales] = planes_of("Q6_K", planes);
    let mut nibbles = Nibbles::new(nibbles, 4 * blocks.len());
    let pairs = plane_row::<4>(pairs, 16 * blocks.len());
    let scales = plane_row::<20>(scales, blocks.len());
    for (i, (block, scales)) in blocks.iter().zip(scales).enumerate() {
        for run in 0..8 {
            let q = quants(Plain, block, run);
            nibbles.put_signed(8 * i + run, &std::array::from_fn(|i| if i < 16 { q[i] } else { q[i] >> 2 }));
            let (even, odd) = (std::array::from_fn(|i| q[i] >> 4), std::array::from_fn(|i| q[i + 16]));
            pairs[16 * i + 2 * run] = pack_pairs(&even).to_le_bytes();
            pairs[16 * i + 2 * run + 1] = pack_pairs(&odd).to_le_bytes();
        }
        scales[..16].copy_from_slice(&block[192..208]);
        scales[16..].copy_from_slice(&f16_at(block, 208).to_le_bytes());
    }
}

/// 32 quants of a block, 0 to 63 each. A half is four runs of 32: the low bits of runs 0 and 1 are the low halves of its 64 bytes,
/// those of runs 2 and 3 the high halves; run r has bits 2r and 2r + 1 of its 32 bytes of high bits.
#[inline(always)]
fn quants<V: Bytes>(v: V, block: &[u8], run: usize) -> V::All {
    let (half, run) = (run / 4, run % 4);
    let low = v.load(bytes_at(block, 64 * half + run % 2 * 32));
    let high = v.load(bytes_at(block, 128 + 32 * half));
    v.or(v.bits(low, run / 2 * 4, 4, 0), v.bits(high, run * 2, 2, 4))
}
