//! IQ4_NL: 32 weights share one f16 scale, and a weight's 4 bits choose one of 16 values that are not evenly spaced.
//!
//! A block of 18 bytes (`block_iq4_nl` in ggml-common.h): 0–1 d (f16) · 2–17 codes (32 × 4 bits, as in Q4_0).
//! `w[i] = d · VALUES[code[i]]`.
//!
//! A unit is two blocks; a row of an odd number of them is padded with zeros. Plane 0: [`Nibbles`] in order. Plane 1: the d of each block. The
//! grid: [`PAIRS`].

use super::block::{self, Block, bytes_at, f16_at, raised};
use super::bytes::{Bytes, Plain};
use super::planes::{Nibbles, plane_row, planes_of, row_blocks};
use super::{Format, Plane};

/// What the codes of IQ4_NL and IQ4_XS stand for (`kvalues_iq4nl` in ggml-common.h).
const VALUES: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// The values, 128 more.
pub(super) const CODES: [u8; 16] = raised(VALUES, 128);

/// The values of a byte of two codes, the low one in the lowest byte.
pub(super) static PAIRS: [u32; 256] = {
    let mut pairs = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        pairs[byte] = VALUES[byte % 16] as u8 as u32 | (VALUES[byte / 16] as u8 as u32) << 8;
        byte += 1;
    }
    pairs
};

pub(super) static IQ4_NL: Format = Format {
    name: "IQ4_NL",
    id: 20,
    weights: 32,
    bytes: 18,
    decode: block::decode::<Iq4, 18, 32>,
    encode: None,
    groups: block::groups::<Iq4, 18, 32>(),
    dot: block::dot::<Iq4, 18, 32>,
    wgsl: "iq4_nl",
    unit: 64,
    planes: &[Plane { weights: 64, bytes: 32 }, Plane { weights: 64, bytes: 4 }],
    grid: Some(|| bytemuck::cast_slice(&PAIRS)),
    repack,
    integer: true,
};

struct Iq4;

impl Block<18, 32> for Iq4 {
    const OFFSET: u8 = 128;
    const SCALE_AT: Option<usize> = Some(0);
    type Header = ();

    #[inline(always)]
    fn header<V: Bytes>(_: V, _: &[u8; 18]) {}

    #[inline(always)]
    fn codes<V: Bytes>(v: V, block: &[u8; 18], _: usize) -> V::All {
        v.lookup(&CODES, v.nibbles(bytes_at(block, 2)))
    }

    #[inline(always)]
    fn scale(block: &[u8; 18], _: &(), _: usize) -> [f32; 2] {
        [f16_at(block, 0); 2]
    }
}

fn repack(row: &[u8], _cols: usize, planes: &mut [&mut [u8]]) {
    let blocks = row_blocks::<18>(row);
    let [codes, scales] = planes_of("IQ4_NL", planes);
    let units = blocks.len().div_ceil(2);
    let mut codes = Nibbles::new(codes, units);
    let scales = plane_row::<2>(scales, 2 * units);
    scales.fill([0; 2]);
    for (i, block) in blocks.iter().enumerate() {
        codes.put_in_order(i, &Plain.nibbles(bytes_at(block, 2)));
        scales[i].copy_from_slice(&block[..2]);
    }
}
