//! BF16: the upper half of a 32-bit float.
//!
//! Plane 0: the halves as they are; a unit is 8 of them.

use super::block::{self, Float};
use super::encode::each_block;
use super::planes::copy_row;
use super::{Format, Plane};

pub(super) static BF16: Format = Format {
    name: "BF16",
    id: 30,
    weights: 1,
    bytes: 2,
    decode: block::decode_floats::<Half, 2>,
    encode: Some(encode),
    groups: None,
    dot: block::dot_floats::<Half, 2>,
    wgsl: "bf16",
    unit: 8,
    planes: &[Plane { weights: 8, bytes: 16 }],
    grid: None,
    repack,
    integer: false,
};

struct Half;

impl Float<2> for Half {
    #[inline(always)]
    fn number(bytes: [u8; 2]) -> f32 {
        f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16)
    }
}

fn encode(weights: &[f32], blocks: &mut [u8]) {
    each_block(weights, blocks, |weight: &[f32; 1], half: &mut [u8; 2]| {
        *half = half::bf16::from_f32(weight[0]).to_le_bytes();
    });
}

fn repack(row: &[u8], _cols: usize, planes: &mut [&mut [u8]]) {
    copy_row(row, planes[0]);
}
