//! IQ4_XS: 256 weights in 8 sub-blocks of 32, each with a 6-bit scale; a weight's 4 bits choose one of the values of IQ4_NL.
//!
//! A block of 136 bytes (`block_iq4_xs` in ggml-common.h): 0–1 d (f16) · 2–3 the high 2 bits of the scales (u16) · 4–7 the low 4 bits
//! of the scales · 8–135 codes (of each 16 bytes a sub-block, as in Q4_0). `w[i] = d · (scale[s] − 32) · VALUES[code[i]]`, `s = i / 32`.
//!
//! A unit is two sub-blocks. Plane 0: [`Nibbles`] in order. Plane 1, for each block three u32: the 8 scales less 32, then d as f32. The grid: [`PAIRS`].

use super::block::{self, Block, bytes_at, f16_at, u16_at};
use super::bytes::{Bytes, Plain};
use super::iq4_nl::{CODES, PAIRS};
use super::planes::{Nibbles, plane_row, planes_of, row_blocks};
use super::{Format, Plane};

pub(super) static IQ4_XS: Format = Format {
    name: "IQ4_XS",
    id: 23,
    weights: 256,
    bytes: 136,
    decode: block::decode::<Iq4, 136, 256>,
    encode: None,
    groups: block::groups::<Iq4, 136, 256>(),
    dot: block::dot::<Iq4, 136, 256>,
    wgsl: "iq4_xs",
    unit: 64,
    planes: &[Plane { weights: 64, bytes: 32 }, Plane { weights: 256, bytes: 12 }],
    grid: Some(|| bytemuck::cast_slice(&PAIRS)),
    repack,
    integer: true,
};

struct Iq4;

impl Block<136, 256> for Iq4 {
    const OFFSET: u8 = 128;
    const STORED: bool = true;
    type Header = f32;

    #[inline(always)]
    fn header<V: Bytes>(v: V, block: &[u8; 136]) -> f32 {
        v.f16(block, 0)
    }

    #[inline(always)]
    fn codes<V: Bytes>(v: V, block: &[u8; 136], s: usize) -> V::All {
        v.lookup(&CODES, v.nibbles(bytes_at(block, 8 + 16 * s)))
    }

    #[inline(always)]
    fn scale(block: &[u8; 136], d: &f32, s: usize) -> [f32; 2] {
        [d * f32::from(step(block, s)); 2]
    }
}

fn repack(row: &[u8], _cols: usize, planes: &mut [&mut [u8]]) {
    let blocks = row_blocks::<136>(row);
    let [codes, headers] = planes_of("IQ4_XS", planes);
    let mut codes = Nibbles::new(codes, 4 * blocks.len());
    let headers = plane_row::<12>(headers, blocks.len());
    for (i, (block, header)) in blocks.iter().zip(headers).enumerate() {
        for s in 0..8 {
            codes.put_in_order(8 * i + s, &Plain.nibbles(bytes_at(block, 8 + 16 * s)));
        }
        let scales: [u8; 8] = std::array::from_fn(|s| step(block, s) as u8);
        header[..8].copy_from_slice(&scales);
        header[8..].copy_from_slice(&f16_at(block, 0).to_le_bytes());
    }
}

/// The scale of sub-block `s` less 32.
#[inline(always)]
fn step(block: &[u8; 136], s: usize) -> i8 {
    let low = block[4 + s / 2] >> (s % 2 * 4) & 15;
    let high = (u16_at(block, 2) >> (2 * s) & 3) as u8;
    (low | high << 4) as i8 - 32
}
