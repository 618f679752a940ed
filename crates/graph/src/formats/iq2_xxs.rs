//! IQ2_XXS: 8 weights are an entry of a grid of 256 and 8 signs, 32 weights share a 4-bit scale.
//!
//! A block of 66 bytes (`block_iq2_xxs` in ggml-common.h): 0–1 d (f16) · then for each 32 weights 8 bytes: four indices into the grid, and
//! a u32 of four times 7 bits of signs, see [`eighth_sign`], and 4 bits of scale. `w[i] = d · (scale[s] + ½) / 4 · ±grid`, `s = i / 32`.
//!
//! A unit is 64 weights. Plane 0: the 16 bytes of each unit as they are. Plane 1: the d of each block. The grid: [`grids::IQ2_XXS`].

use super::block::{self, Block, u32_at};
use super::bytes::Bytes;
use super::grids::{self, eighth_sign, put_signed};
use super::planes::{plane_row, planes_of, row_blocks};
use super::{Format, Plane};

pub(super) static IQ2_XXS: Format = Format {
    name: "IQ2_XXS",
    id: 16,
    weights: 256,
    bytes: 66,
    decode: block::decode::<Iq2, 66, 256>,
    encode: None,
    groups: block::groups::<Iq2, 66, 256>(),
    dot: block::dot::<Iq2, 66, 256>,
    wgsl: "iq2_xxs",
    unit: 64,
    planes: &[Plane { weights: 64, bytes: 16 }, Plane { weights: 256, bytes: 2 }],
    grid: Some(|| bytemuck::cast_slice(&grids::IQ2_XXS)),
    repack,
    integer: true,
};

struct Iq2;

impl Block<66, 256> for Iq2 {
    const LOOKED_UP: bool = true;
    const OFFSET: u8 = 64;
    const MOST: u8 = 128;
    type Header = f32;

    #[inline(always)]
    fn header<V: Bytes>(v: V, block: &[u8; 66]) -> f32 {
        v.f16(block, 0)
    }

    #[inline(always)]
    fn codes<V: Bytes>(v: V, block: &[u8; 66], s: usize) -> V::All {
        let at = 2 + 8 * s;
        let signs = u32_at(block, at + 4);
        let mut q = [0; 32];
        for e in 0..4 {
            let entry = grids::IQ2_XXS[usize::from(block[at + e])];
            put_signed(&mut q, 8 * e, entry.to_le_bytes(), eighth_sign(signs >> (7 * e)));
        }
        v.raised(v.gather(bytemuck::cast_ref(&q)), Self::OFFSET)
    }

    #[inline(always)]
    fn scale(block: &[u8; 66], d: &f32, s: usize) -> [f32; 2] {
        let signs = u32_at(block, 2 + 8 * s + 4);
        [d * (0.5 + (signs >> 28) as f32) * 0.25; 2]
    }
}

fn repack(row: &[u8], _cols: usize, planes: &mut [&mut [u8]]) {
    let blocks = row_blocks::<66>(row);
    let [units, scales] = planes_of("IQ2_XXS", planes);
    let units = plane_row::<64>(units, blocks.len());
    let scales = plane_row::<2>(scales, blocks.len());
    for (block, (units, scale)) in blocks.iter().zip(units.iter_mut().zip(scales)) {
        scale.copy_from_slice(&block[..2]);
        units.copy_from_slice(&block[2..]);
    }
}
