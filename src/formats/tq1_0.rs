//! TQ1_0: 256 weights of −1, 0 or 1 share one f16 scale, five weights to a byte.
//!
//! A block of 54 bytes (`block_tq1_0` in ggml-common.h): 0–51 weights, see [`trits`] · 52–53 d (f16). `w[i] = d · (trit[i] − 1)`.
//!
//! On the device it is TQ2_0: its kernels have no division.

use super::block::{self, Block, Group, f16_at};
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
    type Header = (f32, [u8; 256]);

    #[inline(always)]
    fn header(block: &[u8; 54]) -> (f32, [u8; 256]) {
        (f16_at(block, 52), trits(block))
    }

    #[inline(always)]
    fn group(_: &[u8; 54], (d, trits): &(f32, [u8; 256]), g: usize) -> Group {
        let mut q = [0; 32];
        for i in 0..32 {
            q[i] = trits[32 * g + i] as i8 - 1;
        }
        Group::scaled(*d, q)
    }
}

fn repack(row: &[u8], _cols: usize, planes: &mut [&mut [u8]]) {
    let blocks = row_blocks::<54>(row);
    let [quants, scales] = planes_of("TQ1_0", planes);
    let quants = plane_row::<16>(quants, 4 * blocks.len());
    for (i, (block, scale)) in blocks.iter().zip(plane_row::<2>(scales, blocks.len())).enumerate() {
        for (unit, trits) in trits(block).as_chunks().0.iter().enumerate() {
            quants[4 * i + unit] = pack_crossed(trits);
        }
        scale.copy_from_slice(&block[52..]);
    }
}

/// The 256 weights plus 1. A byte is a fraction of 256 with up to five digits to the base 3: 32 bytes hold weights 0–159, 16 bytes weights
/// 160–239, 4 bytes weights 240–255, of which each run of 32, 16 or 4 weights is one digit of all its bytes.
#[inline(always)]
fn trits(block: &[u8; 54]) -> [u8; 256] {
    let mut trits = [0; 256];
    let mut out = 0;
    for (start, bytes, digits) in [(0, 32, 5), (32, 16, 5), (48, 4, 4)] {
        let mut power = 1u8;
        for _ in 0..digits {
            for i in 0..bytes {
                let rest = block[start + i].wrapping_mul(power);
                trits[out + i] = ((u16::from(rest) * 3) >> 8) as u8;
            }
            out += bytes;
            power = power.wrapping_mul(3);
        }
    }
    trits
}
