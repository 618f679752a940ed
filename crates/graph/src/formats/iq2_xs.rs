//! IQ2_XS: 8 weights are an entry of a grid of 512 and 8 signs, 16 weights share a 4-bit scale.
//!
//! A block of 74 bytes (`block_iq2_xs` in ggml-common.h): 0–1 d (f16) · 2–65 for each 8 weights a u16 of 9 bits of index and 7 bits of
//! signs, see [`eighth_sign`] · 66–73 scales. `w[i] = d · (scale[g] + ½) / 4 · ±grid`, `g = i / 16`.
//!
//! A unit is 64 weights. Plane 0: the 16 bytes of each unit as they are. Plane 1, for each block three u32: the scales, 16 bits for each
//! unit, then d as f32. The grid: [`grids::IQ2_XS`].

use super::block::{self, Block, f16_at, u16_at};
use super::bytes::Bytes;
use super::grids::{self, eighth_sign, put_signed};
use super::planes::{plane_row, planes_of, row_blocks};
use super::{Format, Plane};

pub(super) static IQ2_XS: Format = Format {
    name: "IQ2_XS",
    id: 17,
    weights: 256,
    bytes: 74,
    decode: block::decode::<Iq2, 74, 256>,
    encode: None,
    groups: block::groups::<Iq2, 74, 256>(),
    dot: block::dot::<Iq2, 74, 256>,
    wgsl: "iq2_xs",
    unit: 64,
    planes: &[Plane { weights: 64, bytes: 16 }, Plane { weights: 256, bytes: 12 }],
    grid: Some(|| bytemuck::cast_slice(&grids::IQ2_XS)),
    repack,
    integer: true,
};

struct Iq2;

impl Block<74, 256> for Iq2 {
    const LOOKED_UP: bool = true;
    const ONE_SCALE: bool = false;
    const OFFSET: u8 = 64;
    const MOST: u8 = 128;
    type Header = f32;

    #[inline(always)]
    fn header<V: Bytes>(v: V, block: &[u8; 74]) -> f32 {
        v.f16(block, 0)
    }

    #[inline(always)]
    fn codes<V: Bytes>(v: V, block: &[u8; 74], s: usize) -> V::All {
        let mut q = [0; 32];
        for e in 0..4 {
            let code = u16_at(block, 2 + 8 * s + 2 * e);
            let entry = grids::IQ2_XS[usize::from(code & 511)];
            put_signed(&mut q, 8 * e, entry.to_le_bytes(), eighth_sign(u32::from(code >> 9)));
        }
        v.raised(v.gather(bytemuck::cast_ref(&q)), Self::OFFSET)
    }

    #[inline(always)]
    fn scale(block: &[u8; 74], d: &f32, s: usize) -> [f32; 2] {
        scales(*d, block[66 + s])
    }
}

/// What 16 weights of IQ2_XS and IQ2_S and the next 16 are scaled with, of a byte of two scales.
#[inline(always)]
pub(super) fn scales(d: f32, byte: u8) -> [f32; 2] {
    [d * (0.5 + f32::from(byte & 15)) * 0.25, d * (0.5 + f32::from(byte >> 4)) * 0.25]
}

fn repack(row: &[u8], _cols: usize, planes: &mut [&mut [u8]]) {
    let blocks = row_blocks::<74>(row);
    let [units, headers] = planes_of("IQ2_XS", planes);
    let units = plane_row::<64>(units, blocks.len());
    let headers = plane_row::<12>(headers, blocks.len());
    for (block, (units, header)) in blocks.iter().zip(units.iter_mut().zip(headers)) {
        units.copy_from_slice(&block[2..66]);
        header[..8].copy_from_slice(&block[66..]);
        header[8..].copy_from_slice(&f16_at(block, 0).to_le_bytes());
    }
}
