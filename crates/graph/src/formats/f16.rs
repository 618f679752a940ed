//! F16: IEEE 754 half precision.
//!
//! Plane 0: the halves as they are; a unit is 8 of them.

use super::block::{self, Float};
use super::encode::each_block;
use super::planes::copy_row;
use super::{Format, Plane};

pub(super) static F16: Format = Format {
    name: "F16",
    id: 1,
    weights: 1,
    bytes: 2,
    decode: block::decode_floats::<Half, 2>,
    encode: Some(encode),
    groups: None,
    dot: block::dot_floats::<Half, 2>,
    wgsl: "f16",
    unit: 8,
    planes: &[Plane { weights: 8, bytes: 16 }],
    grid: None,
    repack,
    integer: false,
};

struct Half;

impl Float<2> for Half {
    /// Without a branch, which vectors have not, and without a subnormal f32, which is slow.
    #[inline(always)]
    fn number(bytes: [u8; 2]) -> f32 {
        let bits = u32::from(u16::from_le_bytes(bytes));
        let (exponent, sign) = (bits & 0x7c00, (bits & 0x8000) << 16);
        // The exponent's bias is 15 here and 127 there, and 31 is 255. A subnormal number is one that begins with 1, less that 1.
        let (subnormal, infinite) = (u32::from(exponent == 0), u32::from(exponent == 0x7c00));
        let bias = (112 + subnormal + 112 * infinite) << 23;
        let magnitude =
            f32::from_bits(((bits & 0x7fff) << 13) + bias) - f32::from_bits(subnormal * (113 << 23));
        f32::from_bits(magnitude.to_bits() | sign)
    }
}

fn encode(weights: &[f32], blocks: &mut [u8]) {
    each_block(weights, blocks, |weight: &[f32; 1], half: &mut [u8; 2]| {
        *half = half::f16::from_f32(weight[0]).to_le_bytes();
    });
}

fn repack(row: &[u8], _cols: usize, planes: &mut [&mut [u8]]) {
    copy_row(row, planes[0]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_f16_is_the_same_number_in_f32() {
        for bits in 0..=u16::MAX {
            let (expected, found) = (half::f16::from_bits(bits).to_f32(), Half::number(bits.to_le_bytes()));
            assert!(
                found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan(),
                "{bits:#x}"
            );
        }
    }
}
