//! IQ3_XXS: 4 weights are an entry of a grid of 256, and they have signs; 32 weights share a 4-bit scale.
//!
//! A block of 98 bytes (`block_iq3_xxs` in ggml-common.h): 0–1 d (f16) · 2–65 indices into the grid · 66–97 for each 32 weights a u32 of
//! four times 7 bits of signs, see [`eighth_sign`], and 4 bits of scale. `w[i] = d · (scale[s] + ½) / 2 · ±grid`, `s = i / 32`.
//!
//! A unit is 64 weights. Plane 0: the 16 indices of each unit. Plane 1, for each block nine u32: the 8 of signs and scales, then d as f32.
//! The grid: [`grids::IQ3_XXS`].

use super::block::{self, Block, f16_at, u32_at};
use super::bytes::Bytes;
use super::grids::{self, eighth_sign, put_signed};
use super::planes::{plane_row, planes_of, row_blocks};
use super::{Format, Plane};

pub(super) static IQ3_XXS: Format = Format {
    name: "IQ3_XXS",
    id: 18,
    weights: 256,
    bytes: 98,
    decode: block::decode::<Iq3, 98, 256>,
    encode: None,
    groups: block::groups::<Iq3, 98, 256>(),
    dot: block::dot::<Iq3, 98, 256>,
    wgsl: "iq3_xxs",
    unit: 64,
    planes: &[Plane { weights: 64, bytes: 16 }, Plane { weights: 256, bytes: 36 }],
    grid: Some(|| bytemuck::cast_slice(&grids::IQ3_XXS)),
    repack,
    integer: true,
};

struct Iq3;

impl Block<98, 256> for Iq3 {
    const LOOKED_UP: bool = true;
    const OFFSET: u8 = 64;
    const MOST: u8 = 128;
    const STORED: bool = true;
    type Header = f32;

    #[inline(always)]
    fn header<V: Bytes>(v: V, block: &[u8; 98]) -> f32 {
        v.f16(block, 0)
    }

    #[inline(always)]
    fn codes<V: Bytes>(v: V, block: &[u8; 98], s: usize) -> V::All {
        let signs = u32_at(block, 66 + 4 * s);
        let mut q = [0; 32];
        for e in 0..4 {
            let entry = |i: usize| grids::IQ3_XXS[usize::from(block[2 + 8 * s + 2 * e + i])];
            let entry = u64::from(entry(0)) | u64::from(entry(1)) << 32;
            put_signed(&mut q, 8 * e, entry.to_le_bytes(), eighth_sign(signs >> (7 * e)));
        }
        v.raised(v.gather(bytemuck::cast_ref(&q)), Self::OFFSET)
    }

    #[inline(always)]
    fn scale(block: &[u8; 98], d: &f32, s: usize) -> [f32; 2] {
        let signs = u32_at(block, 66 + 4 * s);
        [d * (0.5 + (signs >> 28) as f32) * 0.5; 2]
    }
}

fn repack(row: &[u8], _cols: usize, planes: &mut [&mut [u8]]) {
    let blocks = row_blocks::<98>(row);
    let [units, headers] = planes_of("IQ3_XXS", planes);
    let units = plane_row::<64>(units, blocks.len());
    let headers = plane_row::<36>(headers, blocks.len());
    for (block, (units, header)) in blocks.iter().zip(units.iter_mut().zip(headers)) {
        units.copy_from_slice(&block[2..66]);
        header[..32].copy_from_slice(&block[66..]);
        header[32..].copy_from_slice(&f16_at(block, 0).to_le_bytes());
    }
}
