//! IQ1_M: 8 weights are an entry of the grid of IQ1_S and are moved up or down by ⅛; 16 weights share a 3-bit scale.
//!
//! A block of 56 bytes (`block_iq1_m` in ggml-common.h): 0–31 the low 8 bits of the indices · 32–47 for each 8 weights 4 bits: the high 3
//! of the index, and whether the weights are moved down · 48–55 four u16: four scales each, and in the highest 4 bits a quarter of d
//! (f16), the lowest first. `w[i] = d · (2 · scale[g] + 1) · (grid ± ⅛)`, `g = i / 16`; here `q` is the last factor times 8.
//!
//! A unit is 64 weights. Plane 0: the low bits of the 8 indices of each unit. Plane 1, for each block seven u32: the 4 bits of each 8
//! weights, a u32 for each unit; the scales, 16 bits for each unit; then d as f32. The grid: [`grids::IQ1`].

use super::block::{self, Block, f16_at, u16_at};
use super::bytes::Bytes;
use super::grids::{self, put_moved};
use super::planes::{plane_row, planes_of, row_blocks};
use super::{Format, Plane};

pub(super) static IQ1_M: Format = Format {
    name: "IQ1_M",
    id: 29,
    weights: 256,
    bytes: 56,
    decode: block::decode::<Iq1, 56, 256>,
    encode: None,
    groups: block::groups::<Iq1, 56, 256>(),
    dot: block::dot::<Iq1, 56, 256>,
    wgsl: "iq1_m",
    unit: 64,
    planes: &[Plane { weights: 64, bytes: 8 }, Plane { weights: 256, bytes: 28 }],
    grid: Some(|| bytemuck::cast_slice(&grids::IQ1)),
    repack,
    integer: true,
};

struct Iq1;

impl Block<56, 256> for Iq1 {
    const LOOKED_UP: bool = true;
    const ONE_SCALE: bool = false;
    const OFFSET: u8 = 9;
    const MOST: u8 = 18;
    type Header = f32;

    #[inline(always)]
    fn header<V: Bytes>(_: V, block: &[u8; 56]) -> f32 {
        scale(block)
    }

    #[inline(always)]
    fn codes<V: Bytes>(v: V, block: &[u8; 56], s: usize) -> V::All {
        let mut q = [0; 32];
        for e in 0..4 {
            let code = block[32 + 2 * s + e / 2] >> (e % 2 * 4);
            let entry = grids::IQ1[usize::from(block[4 * s + e]) | usize::from(code & 7) << 8];
            put_moved(&mut q, 8 * e, entry, code & 8 != 0);
        }
        v.raised(v.gather(bytemuck::cast_ref(&q)), Self::OFFSET)
    }

    #[inline(always)]
    fn scale(block: &[u8; 56], d: &f32, s: usize) -> [f32; 2] {
        let steps = u16_at(block, 48 + s / 2 * 2) >> (s % 2 * 6);
        let scale = |step: u16| d * f32::from(2 * (step & 7) + 1) * 0.125;
        [scale(steps), scale(steps >> 3)]
    }
}

fn repack(row: &[u8], _cols: usize, planes: &mut [&mut [u8]]) {
    let blocks = row_blocks::<56>(row);
    let [units, headers] = planes_of("IQ1_M", planes);
    let units = plane_row::<32>(units, blocks.len());
    let headers = plane_row::<28>(headers, blocks.len());
    for (block, (units, header)) in blocks.iter().zip(units.iter_mut().zip(headers)) {
        units.copy_from_slice(&block[..32]);
        header[..24].copy_from_slice(&block[32..]);
        header[24..].copy_from_slice(&scale(block).to_le_bytes());
    }
}

/// d, put together from its quarters.
#[inline(always)]
fn scale(block: &[u8; 56]) -> f32 {
    let quarter = |i: usize| u16_at(block, 48 + 2 * i) >> 12 << (4 * i);
    f16_at(&(quarter(0) | quarter(1) | quarter(2) | quarter(3)).to_le_bytes(), 0)
}
