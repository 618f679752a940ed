//! NVFP4: weights are floats of 4 bits (E2M1), and 16 of them share a float of 8 bits without a sign (E4M3).
//!
//! A block of 36 bytes (`block_nvfp4` in ggml-common.h), 64 weights: 0–3 d of each 16 weights (E4M3) · 4–35 codes (of each 16 weights 8
//! bytes: byte j holds code j in its low half and code j + 8 in its high half). `w[i] = d[i / 16] / 2 · VALUES[code[i]]`.
//!
//! A unit is a block. Plane 0: [`Nibbles`] of [`places`], the high ones signed. Plane 1: the four d, 0 for one that is not a number.

use super::block::{self, Block};
use super::bytes::Bytes;
use super::mxfp4::{CODES, VALUES_OFFSET, places};
use super::planes::{Nibbles, plane_row, planes_of, row_blocks};
use super::{Format, Plane};

pub(super) static NVFP4: Format = Format {
    name: "NVFP4",
    id: 40,
    weights: 64,
    bytes: 36,
    decode: block::decode::<Nvfp4, 36, 64>,
    encode: None,
    groups: block::groups::<Nvfp4, 36, 64>(),
    dot: block::dot::<Nvfp4, 36, 64>,
    wgsl: "nvfp4",
    unit: 64,
    planes: &[Plane { weights: 64, bytes: 32 }, Plane { weights: 64, bytes: 4 }],
    grid: None,
    repack,
    integer: true,
};

struct Nvfp4;

impl Block<36, 64> for Nvfp4 {
    const ONE_SCALE: bool = false;
    const OFFSET: u8 = VALUES_OFFSET;
    const MOST: u8 = 2 * VALUES_OFFSET;
    type Header = ();

    #[inline(always)]
    fn header<V: Bytes>(_: V, _: &[u8; 36]) {}

    #[inline(always)]
    fn codes<V: Bytes>(v: V, block: &[u8; 36], g: usize) -> V::All {
        v.lookup(&CODES, v.gather(&nibbles(block, g)))
    }

    #[inline(always)]
    fn scale(block: &[u8; 36], _: &(), g: usize) -> [f32; 2] {
        [half_e4m3(block[2 * g]), half_e4m3(block[2 * g + 1])]
    }
}

fn repack(row: &[u8], _cols: usize, planes: &mut [&mut [u8]]) {
    let blocks = row_blocks::<36>(row);
    let [quants, scales] = planes_of("NVFP4", planes);
    let mut all = Nibbles::new(quants, blocks.len());
    let scales = plane_row::<4>(scales, blocks.len());
    for (i, (block, scales)) in blocks.iter().zip(scales).enumerate() {
        for g in 0..2 {
            all.put_signed(2 * i + g, &places(nibbles(block, g)));
        }
        *scales = std::array::from_fn(|g| if block[g] == NAN { 0 } else { block[g] & 0x7f });
    }
}

/// The E4M3 that is not a number.
const NAN: u8 = 0x7f;

/// The codes of weights 32·g to 32·g + 31.
#[inline(always)]
fn nibbles(block: &[u8; 36], g: usize) -> [u8; 32] {
    let bytes = &block[4 + 16 * g..][..16];
    let mut nibbles = [0; 32];
    for j in 0..8 {
        for half in 0..2 {
            nibbles[16 * half + j] = bytes[8 * half + j] & 15;
            nibbles[16 * half + j + 8] = bytes[8 * half + j] >> 4;
        }
    }
    nibbles
}

/// Half of an E4M3 whose sign is not looked at. ggml takes the one that is not a number for 0.
#[inline(always)]
fn half_e4m3(byte: u8) -> f32 {
    let (exponent, mantissa) = (u32::from(byte >> 3 & 15), u32::from(byte & 7));
    if byte == NAN {
        0.0
    } else if exponent == 0 {
        mantissa as f32 / 1024.0
    } else {
        // The exponent's bias is 7 here and 127 there, and half of it is one less.
        f32::from_bits((exponent + 119) << 23 | mantissa << 20)
    }
}
