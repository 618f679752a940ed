//! IQ3_S: 4 weights are an entry of a grid of 512, and they have signs; 32 weights share a 4-bit scale.
//!
//! A block of 110 bytes (`block_iq3_s` in ggml-common.h): 0–1 d (f16) · 2–65 the low 8 bits of the indices · 66–73 their highest bits,
//! eight to a byte · 74–105 signs (bit i of byte e: weight 8·e + i is negative) · 106–109 scales. `w[i] = d · (2 · scale[s] + 1) · ±grid`,
//! `s = i / 32`.
//!
//! A unit is 64 weights. Plane 0: the low bits of the 16 indices of each unit. Plane 1, for each block 13 u32: for each unit the signs of
//! its first 32 weights, of its last 32, the highest bits of its indices (low half) and its two scales (bits 16–23); then d as f32. The
//! grid: [`grids::IQ3_S`].

use super::block::{self, Block, f16_at};
use super::bytes::Bytes;
use super::grids::{self, put_signed};
use super::planes::{plane_row, planes_of, row_blocks};
use super::{Format, Plane};

pub(super) static IQ3_S: Format = Format {
    name: "IQ3_S",
    id: 21,
    weights: 256,
    bytes: 110,
    decode: block::decode::<Iq3, 110, 256>,
    encode: None,
    groups: block::groups::<Iq3, 110, 256>(),
    dot: block::dot::<Iq3, 110, 256>,
    wgsl: "iq3_s",
    unit: 64,
    planes: &[Plane { weights: 64, bytes: 16 }, Plane { weights: 256, bytes: 52 }],
    grid: Some(|| bytemuck::cast_slice(&grids::IQ3_S)),
    repack,
    integer: true,
};

struct Iq3;

impl Block<110, 256> for Iq3 {
    const LOOKED_UP: bool = true;
    const OFFSET: u8 = 64;
    const MOST: u8 = 128;
    const STORED: bool = true;
    type Header = f32;

    #[inline(always)]
    fn header<V: Bytes>(v: V, block: &[u8; 110]) -> f32 {
        v.f16(block, 0)
    }

    #[inline(always)]
    fn codes<V: Bytes>(v: V, block: &[u8; 110], s: usize) -> V::All {
        let mut q = [0; 32];
        for e in 0..4 {
            let entry = |i: usize| {
                let high = usize::from(block[66 + s] >> (2 * e + i) & 1);
                grids::IQ3_S[usize::from(block[2 + 8 * s + 2 * e + i]) | high << 8]
            };
            let entry = u64::from(entry(0)) | u64::from(entry(1)) << 32;
            put_signed(&mut q, 8 * e, entry.to_le_bytes(), block[74 + 4 * s + e]);
        }
        v.raised(v.gather(bytemuck::cast_ref(&q)), Self::OFFSET)
    }

    #[inline(always)]
    fn scale(block: &[u8; 110], d: &f32, s: usize) -> [f32; 2] {
        let scale = block[106 + s / 2] >> (s % 2 * 4) & 15;
        [d * f32::from(1 + 2 * scale); 2]
    }
}

fn repack(row: &[u8], _cols: usize, planes: &mut [&mut [u8]]) {
    let blocks = row_blocks::<110>(row);
    let [units, headers] = planes_of("IQ3_S", planes);
    let units = plane_row::<64>(units, blocks.len());
    let headers = plane_row::<52>(headers, blocks.len());
    for (block, (units, header)) in blocks.iter().zip(units.iter_mut().zip(headers)) {
        units.copy_from_slice(&block[2..66]);
        for u in 0..4 {
            let header = &mut header[12 * u..][..12];
            header[..8].copy_from_slice(&block[74 + 8 * u..][..8]);
            header[8..10].copy_from_slice(&block[66 + 2 * u..][..2]);
            header[10..].copy_from_slice(&[block[106 + u], 0]);
        }
        header[48..].copy_from_slice(&f16_at(block, 0).to_le_bytes());
    }
}
