//! TQ1_0: 256 weights of −1, 0 or 1 share one f16 scale, five weights to a byte.
//!
//! A block of 54 bytes (`block_tq1_0` in ggml-common.h): 0–51 weights, see [`trits`] · 52–53 d (f16). `w[i] = d · (trit[i] − 1)`.
//!
//! On the device it is TQ2_0: its kernels have no division.

use super::block::{self, Block};
use super::bytes::Bytes;
use super::planes::{pack_crossed, plane_row, planes_of, row_blocks};
use super::{Format, Plane};

pub(super) static TQ1_0: Format = Format {
    name: "TQ1_0",
    id: 34,
    weights: 256,
    bytes: 54,
    decode: block::decode::<Tq1, 54, 256>,
    encode: None,
    groups: block::groups::<Tq1, 54, 256>(),
    dot: block::dot::<Tq1, 54, 256>,
    wgsl: "tq2_0",
    unit: 64,
    planes: &[Plane { weights: 64, bytes: 16 }, Plane { weights: 256, bytes: 2 }],
    grid: None,
    repack,
    integer: true,
};

struct Tq1;

impl Block<54, 256> for Tq1 {
    const LOOKED_UP: bool = true;
    const OFFSET: u8 = 1;
    const MOST: u8 = 2;
    const AHEAD: bool = true;
    type Header = f32;

    #[inline(always)]
    fn header<V: Bytes>(v: V, block: &[u8; 54]) -> f32 {
        v.f16(block, 52)
    }

    #[inline(always)]
    fn codes<V: Bytes>(v: V, block: &[u8; 54], g: usize) -> V::All {
        v.gather(&trits(block, g))
    }

    #[inline(always)]
    fn scale(_: &[u8; 54], d: &f32, _: usize) -> [f32; 2] {
        [*d; 2]
    }
}

fn repack(row: &[u8], _cols: usize, planes: &mut [&mut [u8]]) {
    let blocks = row_blocks::<54>(row);
    let [quants, scales] = planes_of("TQ1_0", planes);
    let quants = plane_row::<16>(quants, 4 * blocks.len());
    for (i, (block, scale)) in blocks.iter().zip(plane_row::<2>(scales, blocks.len())).enumerate() {
        for unit in 0..4 {
            let halves = [trits(block, 2 * unit), trits(block, 2 * unit + 1)];
            quants[4 * i + unit] = pack_crossed(&std::array::from_fn(|i| halves[i / 32][i % 32]));
        }
        scale.copy_from_slice(&block[52..]);
    }
}

/// The weights of group `g` plus 1. A byte is a fraction of 256 with up to five digits to the base 3: 32 bytes hold weights 0–159, 16 bytes
/// weights 160–239, 4 bytes weights 240–255, of which each run of 32, 16 or 4 weights is one digit of all its bytes.
#[inline(always)]
fn trits(block: &[u8; 54], g: usize) -> [u8; 32] {
    const POWERS: [u8; 5] = [1, 3, 9, 27, 81];
    let digits = |trits: &mut [u8], bytes: &[u8], digit: usize| {
        for (trit, byte) in trits.iter_mut().zip(bytes) {
            *trit = ((u16::from(byte.wrapping_mul(POWERS[digit])) * 3) >> 8) as u8;
        }
    };
    let mut trits = [0; 32];
    let (first, last) = trits.split_at_mut(16);
    match g {
        0..5 => {
            digits(first, &block[..16], g);
            digits(last, &block[16..32], g);
        }
        5 | 6 => {
            digits(first, &block[32..48], 2 * g - 10);
            digits(last, &block[32..48], 2 * g - 9);
        }
        _ => {
            digits(first, &block[32..48], 4);
            for (digit, trits) in last.chunks_exact_mut(4).enumerate() {
                digits(trits, &block[48..52], digit);
            }
        }
    }
    trits
}
