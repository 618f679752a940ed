//! F32: plain 32-bit floats.
//!
//! Plane 0: the floats as they are; a unit is 4 of them.

use super::{Format, Plane, copy_row, each_block, row};

pub(super) static F32: Format = Format {
    name: "F32",
    id: 0,
    weights: 1,
    bytes: 4,
    decode,
    dot: row::dot::<Block, 64, 16>,
    wgsl: "f32",
    unit: 4,
    planes: &[Plane { weights: 4, bytes: 16 }],
    repack,
    integer: false,
};

fn decode(blocks: &[u8], weights: &mut [f32]) {
    for (bytes, [w]) in each_block(blocks, weights) {
        *w = f32::from_le_bytes(*bytes);
    }
}

/// Σ a·b in f32, as of a row of weights. Panics unless `a` and `b` are equally long.
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    (F32.dot)(bytemuck::cast_slice(a), b)
}

struct Block;

impl row::Products<64, 16> for Block {
    #[inline(always)]
    fn of(block: &[u8; 64], x: &[f32; 16]) -> [f32; row::SUMS] {
        row::floats(block.as_chunks().0, x, f32::from_le_bytes)
    }
}

fn repack(row: &[u8], _cols: usize, planes: &mut [&mut [u8]]) {
    copy_row(row, planes[0]);
}
