//! F32: plain 32-bit floats.
//!
//! Plane 0: the floats as they are; a unit is 4 of them.

use super::block::{self, Float};
use super::encode::each_block;
use super::planes::copy_row;
use super::{Format, Plane};

pub(super) static F32: Format = Format {
    name: "F32",
    id: 0,
    weights: 1,
    bytes: 4,
    decode: block::decode_floats::<Single, 4>,
    encode: Some(encode),
    groups: None,
    dot: block::dot_floats::<Single, 4>,
    wgsl: "f32",
    unit: 4,
    planes: &[Plane { weights: 4, bytes: 16 }],
    grid: None,
    repack,
    integer: false,
};

struct Single;

impl Float<4> for Single {
    #[inline(always)]
    fn number(bytes: [u8; 4]) -> f32 {
        f32::from_le_bytes(bytes)
    }
}

fn encode(weights: &[f32], blocks: &mut [u8]) {
    each_block(weights, blocks, |weight: &[f32; 1], bytes: &mut [u8; 4]| *bytes = weight[0].to_le_bytes());
}

fn repack(row: &[u8], _cols: usize, planes: &mut [&mut [u8]]) {
    copy_row(row, planes[0]);
}
