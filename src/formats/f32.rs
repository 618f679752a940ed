//! F32: plain 32-bit floats.
//!
//! Plane 0: the floats as they are; a unit is 4 of them.

use super::{Format, Plane, copy_row, each_block};

pub(super) static F32: Format = Format {
    name: "F32",
    id: 0,
    weights: 1,
    bytes: 4,
    decode,
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

fn repack(row: &[u8], _cols: usize, planes: &mut [&mut [u8]]) {
    copy_row(row, planes[0]);
}
