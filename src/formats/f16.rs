//! F16: IEEE 754 half precision.
//!
//! Plane 0: the halves as they are; a unit is 8 of them.

use super::{Format, Plane, copy_row, each_block, f16_at};

pub(super) static F16: Format = Format {
    name: "F16",
    id: 1,
    weights: 1,
    bytes: 2,
    decode,
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

fn repack(row: &[u8], _cols: usize, planes: &mut [&mut [u8]]) {
    copy_row(row, planes[0]);
}
