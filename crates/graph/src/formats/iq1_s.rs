//! IQ1_S: 8 weights are an entry of a grid of 2,048, of −1, 0 and 1; 32 weights share a 3-bit scale and are moved up or down by ⅛.
//!
//! A block of 50 bytes (`block_iq1_s` in ggml-common.h): 0–1 d (f16) · 2–33 the low 8 bits of the indices · 34–49 for each 32 weights a
//! u16: four times the high 3 bits of an index, 3 bits of scale, and whether the weights are moved down.
//! `w[i] = d · (2 · scale[s] + 1) · (grid ± ⅛)`, `s = i / 32`; here `q` is the last factor times 8.
//!
//! A unit is 64 weights. Plane 0: the low bits of the 8 indices of each unit. Plane 1, for each block five u32: the two u16 of each unit,
//! then d as f32. The grid: [`grids::IQ1`].

use super::block::{self, Block, f16_at, u16_at};
use super::bytes::Bytes;
use super::grids::{self, put_moved};
use super::planes::{plane_row, planes_of, row_blocks};
use super::{Format, Plane};

pub(super) static IQ1_S: Format = Format {
    name: "IQ1_S",
    id: 19,
    weights: 256,
    bytes: 50,
    decode: block::decode::<Iq1, 50, 256>,
    encode: None,
    groups: block::groups::<Iq1, 50, 256>(),
    dot: block::dot::<Iq1, 50, 256>,
    wgsl: "iq1_s",
    unit: 64,
    planes: &[Plane { weights: 64, bytes: 8 }, Plane { weights: 256, bytes: 20 }],
    grid: Some(|| bytemuck::cast_slice(&grids::IQ1)),
    repack,
    integer: true,
};

struct Iq1;

impl Block<50, 256> for Iq1 {
    const LOOKED_UP: bool = true;
    const OFFSET: u8 = 9;
    const MOST: u8 = 18;
    type Header = f32;

    #[inline(always)]
    fn header<V: Bytes>(v: V, block: &[u8; 50]) -> f32 {
        v.f16(block, 0)
    }

    #[inline(always)]
    fn codes<V: Bytes>(v: V, block: &[u8; 50], s: usize) -> V::All {
        let code = u16_at(block, 34 + 2 * s);
        let mut q = [0; 32];
        for e in 0..4 {
            let high = usize::from(code >> (3 * e) & 7);
            let entry = grids::IQ1[usize::from(block[2 + 4 * s + e]) | high << 8];
            put_moved(&mut q, 8 * e, entry, code & 0x8000 != 0);
        }
        v.raised(v.gather(bytemuck::cast_ref(&q)), Self::OFFSET)
    }

    #[inline(always)]
    fn scale(block: &[u8; 50], d: &f32, s: usize) -> [f32; 2] {
        let code = u16_at(block, 34 + 2 * s);
        [d * f32::from(2 * (code >> 12 & 7) + 1) * 0.125; 2]
    }
}

fn repack(row: &[u8], _cols: usize, planes: &mut [&mut [u8]]) {
    let blocks = row_blocks::<50>(row);
    let [units, headers] = planes_of("IQ1_S", planes);
    let units = plane_row::<32>(units, blocks.len());
    let headers = plane_row::<20>(headers, blocks.len());
    for (block, (units, header)) in blocks.iter().zip(units.iter_mut().zip(headers)) {
        units.copy_from_slice(&block[2..34]);
        header[..16].copy_from_slice(&block[34..]);
        header[16..].copy_from_slice(&f16_at(block, 0).to_le_bytes());
    }
}
