//! Q4_K: 256 weights in 8 sub-blocks of 32, each with a 6-bit scale and a 6-bit minimum.
//!
//! A block of 144 bytes (`block_q4_K` in ggml-common.h): 0–1 d (f16) · 2–3 dmin (f16) · 4–15 scales and minimums,
//! 6 bits each, see [`scales_and_minimums`] · 16–143 q (256 × 4 bits: of each 32 bytes, the low halves are one
//! sub-block and the high halves the next). `w[i] = d · scale[s] · q[i] − dmin · minimum[s]`, `s = i / 32`.
//!
//! A unit is two sub-blocks. Plane 0: for each row the q of the first sub-blocks of all units, then of the second ones,
//! packed as in Q4_0. Plane 1, for each block, five u32: for each unit its two scales and its two minimums, a byte each;
//! then d and dmin. So a lane has its scales without shifts, for 4 bytes more than the file's 12.

use super::{Format, Plane, each_block, f16_at, pack_nibbles, plane_row, row, row_blocks, sign_high_halves};

pub(super) static Q4_K: Format = Format {
    name: "Q4_K",
    id: 12,
    weights: 256,
    bytes: 144,
    decode,
    dot: row::dot::<Block, 144, 256>,
    wgsl: "q4_k",
    unit: 64,
    planes: &[Plane { weights: 64, bytes: 32 }, Plane { weights: 256, bytes: 20 }],
    repack,
    integer: true,
};

fn decode(blocks: &[u8], weights: &mut [f32]) {
    for (block, w) in each_block::<144, 256>(blocks, weights) {
        let (d, dmin) = (f16_at(block, 0), f16_at(block, 2));
        let (scales, minimums) = scales_and_minimums(block);
        for (s, w) in w.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            let (scale, minimum) = (d * f32::from(scales[s]), dmin * f32::from(minimums[s]));
            for (w, q) in w.iter_mut().zip(sub_block(block, s)) {
                *w = scale * f32::from(q) - minimum;
            }
        }
    }
}

struct Block;

impl row::Products<144, 256> for Block {
    #[inline(always)]
    fn of(block: &[u8; 144], x: &[f32; 256]) -> [f32; row::SUMS] {
        let (d, dmin) = (row::scale(block, 0), row::scale(block, 2));
        let (scales, minimums) = scales_and_minimums(block);
        let mut factors = [(0.0, 0.0); 8];
        for ((factors, scale), minimum) in factors.iter_mut().zip(scales).zip(minimums) {
            *factors = (d * f32::from(scale), dmin * f32::from(minimum));
        }
        let mut sums = [0.0; row::SUMS];
        for (s, (x, (scale, minimum))) in x.as_chunks::<32>().0.iter().zip(factors).enumerate() {
            let q = sub_block(block, s);
            let w = |i: usize| scale * f32::from(q[i]) - minimum;
            for (i, sum) in sums.iter_mut().enumerate() {
                *sum += w(i) * x[i] + w(i + 16) * x[i + 16];
            }
        }
        sums
    }
}

fn repack(row: &[u8], _cols: usize, planes: &mut [&mut [u8]]) {
    let blocks = row_blocks::<144>(row);
    let [quants, headers] = planes else { panic!("Q4_K: repack writes 2 planes, not {}", planes.len()) };
    let units = 4 * blocks.len();
    let quants = plane_row::<16>(quants, 2 * units);
    let headers = plane_row::<20>(headers, blocks.len());
    for (i, (block, header)) in blocks.iter().zip(headers).enumerate() {
        let (scales, minimums) = scales_and_minimums(block);
        for s in 0..8 {
            let q = &mut quants[s % 2 * units + 4 * i + s / 2];
            *q = pack_nibbles(&sub_block(block, s));
            sign_high_halves(q);
            header[s / 2 * 4 + s % 2] = scales[s];
            header[s / 2 * 4 + 2 + s % 2] = minimums[s];
        }
        header[16..].copy_from_slice(&block[..4]);
    }
}

/// The 32 quants of sub-block `s`, 0 to 15 each.
#[inline(always)]
fn sub_block(block: &[u8; 144], s: usize) -> [u8; 32] {
    let pair = &block[16 + s / 2 * 32..][..32];
    let shift = s % 2 * 4;
    let mut quants = [0; 32];
    for (q, byte) in quants.iter_mut().zip(pair) {
        *q = byte >> shift & 15;
    }
    quants
}

/// The 8 scales and the 8 minimums, 0 to 63 each. Of the block's bytes 4–15, the low 6 bits of the first four are
/// scales 0–3, those of the next four minimums 0–3; the last four hold the low 4 bits of scales 4–7 (low half) and of
/// minimums 4–7 (high half), whose high 2 bits are on top of the first eight. `get_scale_min_k4` in ggml-quants.c.
#[inline(always)]
fn scales_and_minimums(block: &[u8; 144]) -> ([u8; 8], [u8; 8]) {
    let four = |at: usize| u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]]);
    let (a, b, c) = (four(4), four(8), four(12));
    let eight = |first: u32, last: u32| (u64::from(first) | u64::from(last) << 32).to_le_bytes();
    let scales = eight(a & 0x3f3f_3f3f, c & 0x0f0f_0f0f | a >> 2 & 0x3030_3030);
    let minimums = eight(b & 0x3f3f_3f3f, c >> 4 & 0x0f0f_0f0f | b >> 2 & 0x3030_3030);
    (scales, minimums)
}
