//! F16: IEEE 754 half precision.
//!
//! Plane 0: the halves as they are; a unit is 8 of them.

use super::{Format, Plane, copy_row, each_block, f16_at, row};

pub(super) static F16: Format = Format {
    name: "F16",
    id: 1,
    weights: 1,
    bytes: 2,
    decode,
    dot: row::dot::<Block, 32, 16>,
    wgsl: "f16",
    unit: 8,
    planes: &[Plane { weights: 8, bytes: 16 }],
    repack,
    integer: false,
};

fn decode(blocks: &[u8], weights: &mut [f32]) {
    for (bytes, [w]) in each_block::<2, 1>(blocks, weights) {
        *w = f16_at(bytes, 0);
    }
}

struct Block;

impl row::Products<32, 16> for Block {
    #[inline(always)]
    fn of(block: &[u8; 32], x: &[f32; 16]) -> [f32; row::SUMS] {
        row::floats(block.as_chunks().0, x, f16)
    }
}

fn repack(row: &[u8], _cols: usize, planes: &mut [&mut [u8]]) {
    copy_row(row, planes[0]);
}

/// The f16 in two bytes, as f32, without a branch, which vectors have not, and without a subnormal f32, which is slow.
#[inline(always)]
fn f16(bytes: [u8; 2]) -> f32 {
    let bits = u32::from(u16::from_le_bytes(bytes));
    let (exponent, sign) = (bits & 0x7c00, (bits & 0x8000) << 16);
    // The exponent's bias is 15 here and 127 there, and 31 is 255. A subnormal number is one that begins with 1, less that 1.
    let (subnormal, infinite) = (u32::from(exponent == 0), u32::from(exponent == 0x7c00));
    let bias = (112 + subnormal + 112 * infinite) << 23;
    let magnitude = f32::from_bits(((bits & 0x7fff) << 13) + bias) - f32::from_bits(subnormal * (113 << 23));
    f32::from_bits(magnitude.to_bits() | sign)
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_f16_is_the_same_number_in_f32() {
        for bits in 0..=u16::MAX {
            let (expected, found) = (half::f16::from_bits(bits).to_f32(), super::f16(bits.to_le_bytes()));
            assert!(
                found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan(),
                "{bits:#x}"
            );
        }
    }
}
