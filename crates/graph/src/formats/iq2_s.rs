//! IQ2_S: 8 weights are an entry of a grid of 1,024 and 8 signs, 16 weights share a 4-bit scale.
//!
//! A block of 82 bytes (`block_iq2_s` in ggml-common.h): 0–1 d (f16) · 2–33 the low 8 bits of the indices · 34–65 signs (bit i of byte e:
//! weight 8·e + i is negative) · 66–73 the high 2 bits of the indices, four to a byte · 74–81 scales.
//! `w[i] = d · (scale[g] + ½) / 4 · ±grid`, `g = i / 16`.
//!
//! A unit is 64 weights. Plane 0, for each unit 16 bytes: the low bits of its 8 indices, its 8 bytes of signs. Plane 1, for each block five
//! u32: for each unit the high bits of its indices (low half) and its four scales (high half); then d as f32. The grid:
//! [`grids::IQ2_S`].

use super::block::{self, Block, f16_at};
use super::bytes::Bytes;
use super::grids::{self, put_signed};
use super::iq2_xs::scales;
use super::planes::{plane_row, planes_of, row_blocks};
use super::{Format, Plane};

pub(super) static IQ2_S: Format = Format {
    name: "IQ2_S",
    id: 22,
    weights: 256,
    bytes: 82,
    decode: block::decode::<Iq2, 82, 256>,
    encode: None,
    groups: block::groups::<Iq2, 82, 256>(),
    dot: block::dot::<Iq2, 82, 256>,
    wgsl: "iq2_s",
    unit: 64,
    planes: &[Plane { weights: 64, bytes: 16 }, Plane { weights: 256, bytes: 20 }],
    grid: Some(|| bytemuck::cast_slice(&grids::IQ2_S)),
    repack,
    integer: true,
};

struct Iq2;

impl Block<82, 256> for Iq2 {
    const LOOKED_UP: bool = true;
    const ONE_SCALE: bool = false;
    const OFFSET: u8 = 64;
    const MOST: u8 = 128;
    type Header = f32;

    #[inline(always)]
    fn header<V: Bytes>(v: V, block: &[u8; 82]) -> f32 {
        v.f16(block, 0)
    }

    #[inline(always)]
    fn codes<V: Bytes>(v: V, block: &[u8; 82], s: usize) -> V::All {
        let mut q = [0; 32];
        for e in 0..4 {
            let high = usize::from(block[66 + s] >> (2 * e) & 3);
            let entry = grids::IQ2_S[usize::from(block[2 + 4 * s + e]) | high << 8];
            put_signed(&mut q, 8 * e, entry.to_le_bytes(), block[34 + 4 * s + e]);
        }
        v.raised(v.gather(bytemuck::cast_ref(&q)), Self::OFFSET)
    }

    #[inline(always)]
    fn scale(block: &[u8; 82], d: &f32, s: usize) -> [f32; 2] {
        scales(*d, block[74 + s])
    }
}

fn repack(row: &[u8], _cols: usize, planes: &mut [&mut [u8]]) {
    let blocks = row_blocks::<82>(row);
    let [units, headers] = planes_of("IQ2_S", planes);
    let units = plane_row::<16>(units, 4 * blocks.len());
    let headers = plane_row::<20>(headers, blocks.len());
    for (i, (block, header)) in blocks.iter().zip(headers).enumerate() {
        for u in 0..4 {
            let unit = &mut units[4 * i + u];
            unit[..8].copy_from_slice(&block[2 + 8 * u..][..8]);
            unit[8..].copy_from_slice(&block[34 + 8 * u..][..8]);
            header[4 * u..][..2].copy_from_slice(&block[66 + 2 * u..][..2]);
            header[4 * u + 2..][..2].copy_from_slice(&block[74 + 2 * u..][..2]);
        }
        header[16..].copy_from_slice(&f16_at(block, 0).to_le_bytes());
    }
}
