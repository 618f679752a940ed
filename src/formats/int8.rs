//! Σ w·x over a row of blocks with x in int8: sums of products of bytes, exact in i32, with a scale of x for each 32 and those of the weights.
//!
//! What a format says of its blocks is read in registers, as in `dot`. The instructions are AVX2's, on machines that have more, too: there
//! the code is no faster. On ARM they are NEON's, and its dot products where a machine has these.

use super::block::{Block, GROUP};

/// A row of numbers, rounded to int8 with a scale for each 32.
#[derive(Clone, Debug, Default)]
pub struct ByteRow {
    /// The integers, −127 to 127.
    pub q: Vec<[i8; GROUP]>,
    /// What those of each 32 are multiplied with.
    pub scale: Vec<f32>,
    /// Sums of the first and of the last 16 numbers of each 32, before rounding.
    pub sums: Vec<[f32; 2]>,
}

/// Σ w·x of whole blocks and the numbers of a row, of which there must be as many, on a machine that [`multiplies_bytes`]: else it panics.
pub type ByteDot = fn(row: &[u8], x: &ByteRow) -> f32;

/// Whether this machine has instructions that multiply bytes and add neighbours, and they are known here.
pub fn multiplies_bytes() -> bool {
    #[cfg(target_arch = "x86_64")]
    let has = is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("f16c");
    // Every machine of that target has NEON.
    #[cfg(not(target_arch = "x86_64"))]
    let has = cfg!(target_arch = "aarch64");
    has
}

/// What [`super::Groups::byte_dot`] is for a format with blocks.
pub(super) fn byte_dot<B: Block<BYTES, WEIGHTS>, const BYTES: usize, const WEIGHTS: usize>(
    row: &[u8],
    x: &ByteRow,
) -> f32 {
    let (blocks, odd_bytes) = row.as_chunks::<BYTES>();
    let groups = blocks.len() * (WEIGHTS / GROUP);
    let whole = odd_bytes.is_empty() && [x.q.len(), x.scale.len(), x.sums.len()] == [groups; 3];
    assert!(whole, "byte_dot: {} bytes of weights for {} groups", row.len(), x.q.len());
    assert!(multiplies_bytes(), "this machine has no products of bytes");
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the machine has AVX2, FMA and F16C.
    return unsafe { avx2::dot::<B, BYTES, WEIGHTS>(blocks, x) };
    #[cfg(target_arch = "aarch64")]
    return neon::dot::<B, BYTES, WEIGHTS>(blocks, x);
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    0.0
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::*;

    use super::{Block, ByteRow, GROUP};
    use crate::formats::Group;

    /// Blocks of a group each that are read together: what is scalar of one goes beside what is not of another.
    const TOGETHER: usize = 8;

    #[target_feature(enable = "avx2,fma,f16c")]
    pub(super) fn dot<B: Block<BYTES, WEIGHTS>, const BYTES: usize, const WEIGHTS: usize>(
        blocks: &[[u8; BYTES]],
        x: &ByteRow,
    ) -> f32 {
        let mut sums = Sums { lanes: [_mm256_setzero_ps(); 2], minimums: 0.0 };
        let (each, mut whole) = (WEIGHTS / GROUP, 0);
        // Left out where it compiles to nothing: it would keep compilers from inlining what is left.
        if WEIGHTS == GROUP {
            let (eights, _) = blocks.as_chunks::<TOGETHER>();
            whole = eights.len() * TOGETHER;
            let q: &[[[i8; GROUP]; TOGETHER]] = x.q.as_chunks().0;
            let scales: &[[f32; TOGETHER]] = x.scale.as_chunks().0;
            let halves: &[[[f32; 2]; TOGETHER]] = x.sums.as_chunks().0;
            for (((blocks, q), scales), halves) in eights.iter().zip(q).zip(scales).zip(halves) {
                let scales = scales_of::<B, BYTES, WEIGHTS>(blocks, scales);
                for i in 0..TOGETHER {
                    let mut group = B::group(&blocks[i], &B::header(&blocks[i]), 0);
                    if B::SCALE_AT.is_some() {
                        group.scale = [1.0; 2];
                    }
                    sums.add::<B, BYTES, WEIGHTS>(&group, &q[i], scales[i], &halves[i]);
                }
            }
        }
        let rest = x.q[whole..].chunks_exact(each).zip(x.scale[whole..].chunks_exact(each));
        let rest = rest.zip(x.sums[whole..].chunks_exact(each));
        for (block, ((q, scales), halves)) in blocks[whole..].iter().zip(rest) {
            let header = B::header(block);
            for g in 0..each {
                let group = B::group(block, &header, g);
                sums.add::<B, BYTES, WEIGHTS>(&group, &q[g], scales[g], &halves[g]);
            }
        }
        sums.total()
    }

    /// Scales of x, times those of blocks that have one each.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    fn scales_of<B: Block<BYTES, WEIGHTS>, const BYTES: usize, const WEIGHTS: usize>(
        blocks: &[[u8; BYTES]; TOGETHER],
        scales: &[f32; TOGETHER],
    ) -> [f32; TOGETHER] {
        let Some(at) = B::SCALE_AT else { return *scales };
        let half = |i: usize| i16::from_le_bytes([blocks[i][at], blocks[i][at + 1]]);
        let all = _mm_set_epi16(half(7), half(6), half(5), half(4), half(3), half(2), half(1), half(0));
        let mut both = [0.0; TOGETHER];
        // SAFETY: arrays of 8 numbers.
        unsafe {
            let product = _mm256_mul_ps(_mm256_cvtph_ps(all), _mm256_loadu_ps(scales.as_ptr()));
            _mm256_storeu_ps(both.as_mut_ptr(), product);
        }
        both
    }

    /// Sums of products side by side, which take turns, so that each waits for itself alone; and what minimums take off.
    struct Sums {
        lanes: [__m256; 2],
        minimums: f32,
    }

    impl Sums {
        #[inline]
        #[target_feature(enable = "avx2,fma,f16c")]
        fn add<B: Block<BYTES, WEIGHTS>, const BYTES: usize, const WEIGHTS: usize>(
            &mut self,
            group: &Group,
            q: &[i8; GROUP],
            scale: f32,
            halves: &[f32; 2],
        ) {
            let products = _mm256_cvtepi32_ps(products::<B, BYTES, WEIGHTS>(&group.q, q));
            let scale = match B::ONE_SCALE {
                true => _mm256_set1_ps(group.scale[0] * scale),
                false => {
                    _mm256_set_m128(_mm_set1_ps(group.scale[1] * scale), _mm_set1_ps(group.scale[0] * scale))
                }
            };
            self.lanes = [self.lanes[1], _mm256_fmadd_ps(products, scale, self.lanes[0])];
            if B::AFFINE {
                self.minimums += match B::ONE_SCALE {
                    true => group.minimum[0] * (halves[0] + halves[1]),
                    false => group.minimum[0] * halves[0] + group.minimum[1] * halves[1],
                };
            }
        }

        #[inline]
        #[target_feature(enable = "avx2,fma,f16c")]
        fn total(self) -> f32 {
            let mut lanes = [0.0f32; 8];
            // SAFETY: an array of 8 numbers.
            unsafe { _mm256_storeu_ps(lanes.as_mut_ptr(), _mm256_add_ps(self.lanes[0], self.lanes[1])) };
            lanes.iter().sum::<f32>() - self.minimums
        }
    }

    /// Sums of four neighbouring products each.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    fn products<B: Block<BYTES, WEIGHTS>, const BYTES: usize, const WEIGHTS: usize>(
        w: &[i8; GROUP],
        x: &[i8; GROUP],
    ) -> __m256i {
        let (w, _) = w.as_chunks::<16>();
        // SAFETY: 16 bytes twice, and 32 bytes. Weights may have been written as two halves: a load of both would wait until these are in the cache.
        let (w, x) = unsafe {
            let half = |i: usize| _mm_loadu_si128(w[i].as_ptr().cast());
            (_mm256_set_m128i(half(1), half(0)), _mm256_loadu_si256(x.as_ptr().cast()))
        };
        // The instruction multiplies u8 by i8: |w| by x with the sign of w. Two products are at most 2 · 128 · 127, which 16 bits hold.
        let pairs = match B::UNSIGNED {
            true => _mm256_maddubs_epi16(w, x),
            false => _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w)),
        };
        _mm256_madd_epi16(pairs, _mm256_set1_epi16(1))
    }
}

#[cfg(target_arch = "aarch64")]
mod neon {
    use std::arch::aarch64::*;
    use std::arch::{asm, is_aarch64_feature_detected};

    use super::{Block, ByteRow, GROUP};
    use crate::formats::Group;

    pub(super) fn dot<B: Block<BYTES, WEIGHTS>, const BYTES: usize, const WEIGHTS: usize>(
        blocks: &[[u8; BYTES]],
        x: &ByteRow,
    ) -> f32 {
        match is_aarch64_feature_detected!("dotprod") {
            // SAFETY: the machine has dot products.
            true => unsafe { by_dot_products::<B, BYTES, WEIGHTS>(blocks, x) },
            // SAFETY: plain products need nothing.
            false => unsafe { sum::<Plain, B, BYTES, WEIGHTS>(blocks, x) },
        }
    }

    #[target_feature(enable = "dotprod")]
    fn by_dot_products<B: Block<BYTES, WEIGHTS>, const BYTES: usize, const WEIGHTS: usize>(
        blocks: &[[u8; BYTES]],
        x: &ByteRow,
    ) -> f32 {
        // SAFETY: this function is only entered on machines that have dot products.
        unsafe { sum::<DotProducts, B, BYTES, WEIGHTS>(blocks, x) }
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
    struct Plain;

    impl Products for Plain {
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
    struct DotProducts;

    impl Products for DotProducts {
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
        let x = x.q.chunks_exact(each).zip(x.scale.chunks_exact(each)).zip(x.sums.chunks_exact(each));
        for (block, ((q, scales), halves)) in blocks.iter().zip(x) {
            let header = B::header(block);
            for g in 0..each {
                let group = B::group(block, &header, g);
                // SAFETY: the caller's.
                let products = unsafe { products::<P>(&group, &q[g], scales[g], B::ONE_SCALE, lanes[0]) };
                lanes = [lanes[1], products];
                if B::AFFINE {
                    minimums += group.minimum[0] * halves[g][0] + group.minimum[1] * halves[g][1];
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
}
