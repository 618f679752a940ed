//! MXFP4: 32 weights are floats of 4 bits (E2M1) and share a power of two (E8M0), as in the OCP Microscaling Formats specification 1.0.
//!
//! A block of 17 bytes (`block_mxfp4` in ggml-common.h): 0 e · 1–16 codes (32 × 4 bits, as in Q4_0).
//! `w[i] = 2^(e − 128) · VALUES[code[i]]`: the values are twice those of E2M1, so that all are whole.
//!
//! A unit is two blocks; a row of an odd number of them is padded. Plane 0: [`Nibbles`] of [`places`], the high ones signed. Plane 1: the e
//! of each block, 0 where it is padded, which the kernels take for a scale of zero.

use super::block::{self, Block, bytes_at, raised};
use super::bytes::{Bytes, Plain};
use super::planes::{Nibbles, planes_of, row_blocks};
use super::{Format, Plane};

/// What the codes of MXFP4 and NVFP4 stand for, times two.
const VALUES: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// The values, as much more as the smallest is below 0.
pub(super) const CODES: [u8; 16] = raised(VALUES, VALUES_OFFSET);
pub(super) const VALUES_OFFSET: u8 = 12;

pub(super) static MXFP4: Format = Format {
    name: "MXFP4",
    id: 39,
    weights: 32,
    bytes: 17,
    decode: block::decode::<Mxfp4, 17, 32>,
    encode: None,
    groups: block::groups::<Mxfp4, 17, 32>(),
    dot: block::dot::<Mxfp4, 17, 32>,
    wgsl: "mxfp4",
    unit: 64,
    planes: &[Plane { weights: 64, bytes: 32 }, Plane { weights: 64, bytes: 2 }],
    grid: None,
    repack,
    integer: true,
};

struct Mxfp4;

impl Block<17, 32> for Mxfp4 {
    const OFFSET: u8 = VALUES_OFFSET;
    const MOST: u8 = 2 * VALUES_OFFSET;
    type Header = ();

    #[inline(always)]
    fn header<V: Bytes>(_: V, _: &[u8; 17]) {}

    #[inline(always)]
    fn codes<V: Bytes>(v: V, block: &[u8; 17], _: usize) -> V::All {
        v.lookup(&CODES, v.nibbles(bytes_at(block, 1)))
    }

    #[inline(always)]
    fn scale(block: &[u8; 17], _: &(), _: usize) -> [f32; 2] {
        [half_power(block[0]); 2]
    }
}

fn repack(row: &[u8], _cols: usize, planes: &mut [&mut [u8]]) {
    let blocks = row_blocks::<17>(row);
    let [codes, exponents] = planes_of("MXFP4", planes);
    let units = blocks.len().div_ceil(2);
    let mut codes = Nibbles::new(codes, units);
    exponents.fill(0);
    for (i, block) in blocks.iter().enumerate() {
        codes.put_signed(i, &places(Plain.nibbles(bytes_at(block, 1))));
        exponents[i] = block[0];
    }
}

/// The places of E2M1's codes in the kernels' planes: `VALUES[code]` = p − 14 + 13 · h, where h is whether two of p's bit 0, the opposite of its bit 1
/// and the opposite of its bit 3 are set. No other order of the values needs fewer products; it has one place too many, and none for −0.
const PLACES: [u8; 16] = [1, 15, 3, 4, 5, 7, 9, 13, 1, 0, 12, 11, 10, 8, 6, 2];

pub(super) fn places(codes: [u8; 32]) -> [u8; 32] {
    codes.map(|code| PLACES[usize::from(code)])
}

/// 2^(e − 128), subnormal for e below 2.
#[inline(always)]
fn half_power(e: u8) -> f32 {
    f32::from_bits(if e < 2 { 0x0020_0000 << e } else { u32::from(e - 1) << 23 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_its_value() {
        for (code, value) in VALUES.into_iter().enumerate() {
            let p = PLACES[code];
            let h = (p & 1) + (!p >> 1 & 1) + (!p >> 3 & 1) >= 2;
            assert_eq!(p as i8 - 14 + 13 * i8::from(h), value, "code {code}");
        }
    }
}
