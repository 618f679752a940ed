//! BF16: the upper half of a 32-bit float.
//!
//! Plane 0: the halves as they are; a unit is 8 of them.

use super::{Format, Plane, copy_row, each_block, row};

pub(super) static BF16: Format = Format {
    name: "BF16",
    id: 30,
    weights: 1,
    bytes: 2,
    decode,
    dot: row::dot::<Block, 32, 16>,
    wgsl: "bf16",
    unit: 8,
    planes: &[Plane { weights: 8, bytes: 16 }],
    repack,
    integer: false,
};

fn decode(blocks: &[u8], weights: &mut [f32]) {
    for (bytes, [w]) in each_block(blocks, weights) {
        *w = bf16(*bytes);
    }
}

struct Block;

impl row::Products<32, 16> for Block {
    #[inline(always)]
    fn of(block: &[u8; 32], x: &[f32; 16]) -> [f32; row::SUMS] {
        row::floats(block.as_chunks().0, x, bf16)
    }
}

fn repack(row: &[u8], _cols: usize, planes: &mut [&mut [u8]]) {
    copy_row(row, planes[0]);
}

#[inline(always)]
fn bf16(bytes: [u8; 2]) -> f32 {
    f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16)
}
