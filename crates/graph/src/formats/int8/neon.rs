//! The same by NEON, and by its dot products.

use std::arch::aarch64::*;
use std::arch::{asm, is_aarch64_feature_detected};

use super::{Block, ByteProducts, ByteRow, EIGHT, GROUP};
use crate::formats::Group;
use crate::formats::block::PlainBlock;

pub(super) fn has(with: ByteProducts) -> bool {
    match with {
        // Every machine of this target has NEON.
        ByteProducts::Pairs => true,
        ByteProducts::Fours => is_aarch64_feature_detected!("dotprod"),
    }
}

/// As `byte_dot`.
///
/// # Safety
/// The machine must be one that [`has`] the instructions.
pub(super) unsafe fn dot<B: Block<BYTES, WEIGHTS>, const BYTES: usize, const WEIGHTS: usize>(
    with: ByteProducts,
    blocks: &[[u8; BYTES]],
    x: &ByteRow,
    out: &mut [f32],
) {
    let row = x.groups * GROUP / WEIGHTS;
    for (r, y) in out.iter_mut().enumerate() {
        let blocks = &blocks[r * row..(r + 1) * row];
        *y = match with {
            // SAFETY: plain products need nothing.
            ByteProducts::Pairs => unsafe { sum::<Pairs, B, BYTES, WEIGHTS>(blocks, x) },
            // SAFETY: the machine has dot products.
            ByteProducts::Fours => unsafe { by_fours::<B, BYTES, WEIGHTS>(blocks, x) },
        };
    }
}

#[target_feature(enable = "dotprod")]
fn by_fours<B: Block<BYTES, WEIGHTS>, const BYTES: usize, const WEIGHTS: usize>(
    blocks: &[[u8; BYTES]],
    x: &ByteRow,
) -> f32 {
    // SAFETY: this function is only entered on machines that have dot products.
    unsafe { sum::<Fours, B, BYTES, WEIGHTS>(blocks, x) }
}

/// Products of 16 bytes each.
trait Products {
    /// Adds sums of four of them each.
    ///
    /// # Safety
    /// The machine must have the instructions of the implementing type.
    unsafe fn add(sums: int32x4_t, w: int8x16_t, x: int8x16_t) -> int32x4_t;
}

/// By NEON's products of eight bytes.
struct Pairs;

impl Products for Pairs {
    #[inline(always)]
    unsafe fn add(sums: int32x4_t, w: int8x16_t, x: int8x16_t) -> int32x4_t {
        // SAFETY: every machine of this target has NEON.
        unsafe {
            // Two products are at most 2 · 128 · 127, which 16 bits hold.
            let low = vmull_s8(vget_low_s8(w), vget_low_s8(x));
            vpadalq_s16(sums, vmlal_high_s8(low, w, x))
        }
    }
}

/// By the instruction for them, for which there is no stable function yet.
struct Fours;

impl Products for Fours {
    #[inline(always)]
    unsafe fn add(mut sums: int32x4_t, w: int8x16_t, x: int8x16_t) -> int32x4_t {
        // SAFETY: the caller's; registers alone are read and written.
        unsafe {
            asm!(
                "sdot {sums:v}.4s, {w:v}.16b, {x:v}.16b",
                sums = inout(vreg) sums,
                w = in(vreg) w,
                x = in(vreg) x,
                options(pure, nomem, nostack, preserves_flags)
            );
        }
        sums
    }
}

/// # Safety
/// The machine must have the instructions of `P`.
#[inline(always)]
unsafe fn sum<P: Products, B: Block<BYTES, WEIGHTS>, const BYTES: usize, const WEIGHTS: usize>(
    blocks: &[[u8; BYTES]],
    x: &ByteRow,
) -> f32 {
    let each = WEIGHTS / GROUP;
    // SAFETY: every machine of this target has NEON.
    let none = unsafe { vdupq_n_f32(0.0) };
    // Sums of products side by side, which take turns, so that each waits for itself alone; and what minimums take off.
    let (mut lanes, mut minimums) = ([none; 2], 0.0);
    for (b, block) in blocks.iter().enumerate() {
        let block = PlainBlock::<B, BYTES, WEIGHTS>::of(block);
        let (x, first) = (&x.eights[b * each / EIGHT], b * each % EIGHT);
        for g in 0..each {
            let (group, i) = (block.group(g), first + g);
            // SAFETY: the caller's.
            let products = unsafe { products::<P>(&group, &x.q[i], x.scale[i], B::ONE_SCALE, lanes[0]) };
            lanes = [lanes[1], products];
            if B::AFFINE {
                minimums += group.minimum[0] * x.sums[0][i] + group.minimum[1] * x.sums[1][i];
            }
        }
    }
    // SAFETY: every machine of this target has NEON.
    unsafe { vaddvq_f32(vaddq_f32(lanes[0], lanes[1])) - minimums }
}

/// Adds a group's products, times both scales.
///
/// # Safety
/// The machine must have the instructions of `P`.
#[inline(always)]
unsafe fn products<P: Products>(
    group: &Group,
    x: &[i8; GROUP],
    scale: f32,
    one_scale: bool,
    sums: float32x4_t,
) -> float32x4_t {
    // SAFETY: the caller's; 32 bytes are two times 16.
    unsafe {
        let half = |of: &[i8; GROUP], i: usize| vld1q_s8(of.as_ptr().add(16 * i));
        let none = vdupq_n_s32(0);
        let first = P::add(none, half(&group.q, 0), half(x, 0));
        if one_scale {
            let both = P::add(first, half(&group.q, 1), half(x, 1));
            return vfmaq_n_f32(sums, vcvtq_f32_s32(both), group.scale[0] * scale);
        }
        let second = P::add(none, half(&group.q, 1), half(x, 1));
        let sums = vfmaq_n_f32(sums, vcvtq_f32_s32(first), group.scale[0] * scale);
        vfmaq_n_f32(sums, vcvtq_f32_s32(second), group.scale[1] * scale)
    }
}
