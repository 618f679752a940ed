//! Q4_K: 256 weights in 8 sub-blocks of 32, each with a 6-bit scale and a 6-bit minimum.
//!
//! A block of 144 bytes (`block_q4_K` in ggml-common.h): 0–1 d (f16) · 2–3 dmin (f16) · 4–15 scales and minimums,
//! 6 bits each, see [`Scales`] · 16–143 q (256 × 4 bits: of each 32 bytes, the low halves are one sub-block and the high
//! halves the next). `w[i] = d · scale[s] · q[i] − dmin · minimum[s]`, `s = i / 32`.
//!
//! A unit is two sub-blocks. Plane 0: [`Nibbles`], the high ones signed. Plane 1, for each block, five u32: for each unit its two
//! scales and its two minimums, a byte each; then d and dmin. So a lane has its scales without shifts, for 4 bytes more than
//! the file's 12.

use super::block::{self, Block, bytes_at, u32_at};
use super::bytes::{Bytes, Plain};
use super::encode::{Steps, affine, each_block, nearest, put_f16};
use super::planes::{Nibbles, plane_row, planes_of, row_blocks};
use super::{Format, Plane};

pub(super) static Q4_K: Format = Format {
    name: "Q4_K",
    id: 12,
    weights: 256,
    bytes: 144,
    decode: block::decode::<Q4, 144, 256>,
    encode: Some(encode),
    groups: block::groups::<Q4, 144, 256>(),
    dot: block::dot::<Q4, 144, 256>,
    wgsl: "q4_k",
    unit: 64,
    planes: &[Plane { weights: 64, bytes: 32 }, Plane { weights: 256, bytes: 20 }],
    grid: None,
    repack,
    integer: true,
};

struct Q4;

impl Block<144, 256> for Q4 {
    const AFFINE: bool = true;
    const MOST: u8 = 15;
    type Header = Scales;

    #[inline(always)]
    fn header<V: Bytes>(v: V, block: &[u8; 144]) -> Scales {
        Scales::of(v, block)
    }

    #[inline(always)]
    fn codes<V: Bytes>(v: V, block: &[u8; 144], s: usize) -> V::All {
        sub_block(v, block, 16, s)
    }

    #[inline(always)]
    fn scale(_: &[u8; 144], header: &Scales, s: usize) -> [f32; 2] {
        [header.scale[s]; 2]
    }

    #[inline(always)]
    fn minimum(_: &[u8; 144], header: &Scales, s: usize) -> [f32; 2] {
        [header.minimum[s]; 2]
    }
}

fn encode(weights: &[f32], blocks: &mut [u8]) {
    each_block(weights, blocks, |w: &[f32; 256], block: &mut [u8; 144]| {
        let quants = encode_block(w, block, 15, &Steps { first: -1.0, count: 20 });
        for (pair, bytes) in block[16..].as_chunks_mut::<32>().0.iter_mut().enumerate() {
            for i in 0..32 {
                bytes[i] = quants[2 * pair][i] | quants[2 * pair + 1][i] << 4;
            }
        }
    });
}

/// Writes the first 16 bytes of a block of Q4_K or Q5_K, and returns the quants of each sub-block, 0 to `most`
/// (`quantize_row_q4_K_ref`, `quantize_row_q5_K_ref`).
pub(super) fn encode_block(
    weights: &[f32; 256],
    block: &mut [u8],
    most: i32,
    steps: &Steps,
) -> [[u8; 32]; 8] {
    let (mut scales, mut minimums, mut quants) = ([0.0f32; 8], [0.0f32; 8], [[0; 32]; 8]);
    for (s, w) in weights.as_chunks::<32>().0.iter().enumerate() {
        let mut squares = 0.0f32;
        for w in w {
            squares += w * w;
        }
        let usual = (squares / 32.0).sqrt();
        (scales[s], minimums[s], quants[s]) = affine(w, &w.map(|w| usual + w.abs()), most, steps);
    }
    // Both are never below 0; a comparison, since the larger of 0 and −0 may be either.
    let largest = |values: &[f32; 8]| {
        values.iter().fold(0.0f32, |most, &value| if value > most { value } else { most })
    };
    let (scale, minimum) = (largest(&scales), largest(&minimums));
    let in_64 = |value: f32, largest: f32| {
        let inverse = if largest > 0.0 { 63.0 / largest } else { 0.0 };
        nearest(inverse * value, 0, 63) as u8
    };
    put_f16(block, 0, scale / 63.0);
    put_f16(block, 2, minimum / 63.0);
    put_scales_and_minimums(block, scales.map(|s| in_64(s, scale)), minimums.map(|m| in_64(m, minimum)));
    // Once more, with the scales as they are now.
    let Scales { scale, minimum } = Scales::of(Plain, block);
    for (s, w) in weights.as_chunks::<32>().0.iter().enumerate() {
        if scale[s] != 0.0 {
            quants[s] = w.map(|w| nearest((w + minimum[s]) / scale[s], 0, most) as u8);
        }
    }
    quants
}

/// The way back from [`scales_and_minimums`].
fn put_scales_and_minimums(block: &mut [u8], scales: [u8; 8], minimums: [u8; 8]) {
    for i in 0..4 {
        block[4 + i] = scales[i] | (scales[i + 4] >> 4) << 6;
        block[8 + i] = minimums[i] | (minimums[i + 4] >> 4) << 6;
        block[12 + i] = scales[i + 4] & 15 | (minimums[i + 4] & 15) << 4;
    }
}

fn repack(row: &[u8], _cols: usize, planes: &mut [&mut [u8]]) {
    let blocks = row_blocks::<144>(row);
    let [quants, headers] = planes_of("Q4_K", planes);
    let mut quants = Nibbles::new(quants, 4 * blocks.len());
    let headers = plane_row::<20>(headers, blocks.len());
    for (i, (block, header)) in blocks.iter().zip(headers).enumerate() {
        for s in 0..8 {
            quants.put_signed(8 * i + s, &sub_block(Plain, block, 16, s));
        }
        header[..16].copy_from_slice(&steps(block));
        header[16..].copy_from_slice(&block[..4]);
    }
}

/// The low 4 bits of the 32 quants of sub-block `s`, in the bytes from `at` on.
#[inline(always)]
pub(super) fn sub_block<V: Bytes>(v: V, block: &[u8], at: usize, s: usize) -> V::All {
    v.bits(v.load(bytes_at(block, at + s / 2 * 32)), s % 2 * 4, 4, 0)
}

/// What the 8 sub-blocks of Q4_K and Q5_K are scaled with: `d · scale` and `dmin · minimum`.
pub(super) struct Scales {
    pub scale: [f32; 8],
    pub minimum: [f32; 8],
}

impl Scales {
    /// Those of a block, which begins alike in both formats.
    #[inline(always)]
    pub fn of<V: Bytes>(v: V, block: &[u8]) -> Scales {
        let (d, dmin) = (v.f16(block, 0), v.f16(block, 2));
        let (scales, minimums) = scales_and_minimums(block);
        let mut products = Scales { scale: [0.0; 8], minimum: [0.0; 8] };
        for s in 0..8 {
            products.scale[s] = d * f32::from(scales[s]);
            products.minimum[s] = dmin * f32::from(minimums[s]);
        }
        products
    }
}

/// For each pair of sub-blocks its two scales and its two minimums.
pub(super) fn steps(block: &[u8]) -> [u8; 16] {
    let (scales, minimums) = scales_and_minimums(block);
    std::array::from_fn(|i| {
        let s = i / 4 * 2 + i % 2;
        if i % 4 < 2 { scales[s] } else { minimums[s] }
    })
}

/// The 8 scales and the 8 minimums, 0 to 63 each. Of the block's bytes 4–15, the low 6 bits of the first four are
/// scales 0–3, those of the next four minimums 0–3; the last four hold the low 4 bits of scales 4–7 (low half) and of
/// minimums 4–7 (high half), whose high 2 bits are on top of the first eight. `get_scale_min_k4` in ggml-quants.c.
#[inline(always)]
fn scales_and_minimums(block: &[u8]) -> ([u8; 8], [u8; 8]) {
    let (a, b, c) = (u32_at(block, 4), u32_at(block, 8), u32_at(block, 12));
    let eight = |first: u32, last: u32| (u64::from(first) | u64::from(last) << 32).to_le_bytes();
    let scales = eight(a & 0x3f3f_3f3f, c & 0x0f0f_0f0f | a >> 2 & 0x3030_3030);
    let minimums = eight(b & 0x3f3f_3f3f, c >> 4 & 0x0f0f_0f0f | b >> 2 & 0x3030_3030);
    (scales, minimums)
}
