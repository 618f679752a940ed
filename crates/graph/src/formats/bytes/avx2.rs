//! 32 bytes in AVX2's vectors.

use std::arch::x86_64::*;

use super::Bytes;
use crate::formats::block::{GROUP, u16_at};

/// AVX2 and F16C: a value of it exists only where the machine has them.
#[derive(Clone, Copy)]
pub(in crate::formats) struct Avx2(());

impl Avx2 {
    /// # Safety
    /// The machine must have AVX2 and F16C.
    #[inline(always)]
    pub unsafe fn new() -> Avx2 {
        Avx2(())
    }

    /// The f16 at `at` of each of eight blocks.
    #[inline(always)]
    pub fn halves<const BYTES: usize>(self, blocks: &[[u8; BYTES]], at: usize) -> __m256 {
        let half = |i: usize| i16::from_le_bytes([blocks[i][at], blocks[i][at + 1]]);
        // SAFETY: the machine has F16C.
        unsafe {
            _mm256_cvtph_ps(_mm_set_epi16(
                half(7),
                half(6),
                half(5),
                half(4),
                half(3),
                half(2),
                half(1),
                half(0),
            ))
        }
    }
}

impl Bytes for Avx2 {
    type All = __m256i;

    #[inline(always)]
    fn load(self, bytes: &[u8; GROUP]) -> __m256i {
        // SAFETY: the machine has AVX2; an array of 32 bytes.
        unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
    }

    /// Two loads: one of what was written in halves would wait until these are in the cache.
    #[inline(always)]
    fn gather(self, bytes: &[u8; GROUP]) -> __m256i {
        let (halves, _) = bytes.as_chunks::<16>();
        // SAFETY: the machine has AVX2; arrays of 16 bytes.
        unsafe {
            let half = |i: usize| _mm_loadu_si128(halves[i].as_ptr().cast());
            _mm256_set_m128i(half(1), half(0))
        }
    }

    #[inline(always)]
    fn nibbles(self, bytes: &[u8; 16]) -> __m256i {
        // SAFETY: the machine has AVX2; an array of 16 bytes.
        unsafe {
            let both = _mm256_broadcastsi128_si256(_mm_loadu_si128(bytes.as_ptr().cast()));
            let moved = _mm256_srlv_epi32(both, _mm256_setr_epi32(0, 0, 0, 0, 4, 4, 4, 4));
            _mm256_and_si256(moved, _mm256_set1_epi8(15))
        }
    }

    #[inline(always)]
    fn bits(self, bytes: __m256i, from: usize, count: usize, to: usize) -> __m256i {
        // SAFETY: the machine has AVX2.
        unsafe {
            let moved = match from.checked_sub(to) {
                Some(down) => _mm256_srl_epi16(bytes, _mm_cvtsi32_si128(down as i32)),
                None => _mm256_sll_epi16(bytes, _mm_cvtsi32_si128((to - from) as i32)),
            };
            _mm256_and_si256(moved, _mm256_set1_epi8((((1 << count) - 1) << to) as i8))
        }
    }

    #[inline(always)]
    fn spread(self, bytes: __m256i, word: u32, to: usize) -> __m256i {
        // SAFETY: the machine has AVX2.
        unsafe {
            // Each byte of the word eight times, and of each of the eight another bit.
            let places =
                _mm256_setr_epi64x(0, 0x0101_0101_0101_0101, 0x0202_0202_0202_0202, 0x0303_0303_0303_0303);
            let word = _mm256_shuffle_epi8(_mm256_set1_epi32(word as i32), places);
            let bit = _mm256_set1_epi64x(0x8040_2010_0804_0201u64 as i64);
            let found = _mm256_cmpeq_epi8(_mm256_and_si256(word, bit), bit);
            _mm256_or_si256(bytes, _mm256_and_si256(found, _mm256_set1_epi8(1 << to)))
        }
    }

    #[inline(always)]
    fn or(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: the machine has AVX2.
        unsafe { _mm256_or_si256(a, b) }
    }

    #[inline(always)]
    fn raised(self, bytes: __m256i, offset: u8) -> __m256i {
        // SAFETY: the machine has AVX2.
        unsafe { _mm256_add_epi8(bytes, _mm256_set1_epi8(offset as i8)) }
    }

    #[inline(always)]
    fn lookup(self, table: &[u8; 16], bytes: __m256i) -> __m256i {
        // SAFETY: the machine has AVX2; an array of 16 bytes.
        unsafe {
            let table = _mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().cast()));
            _mm256_shuffle_epi8(table, bytes)
        }
    }

    #[inline(always)]
    fn times(self, factor: f32, steps: &[i8; 16]) -> [f32; 16] {
        let (halves, _) = steps.as_chunks::<8>();
        // SAFETY: the machine has AVX2; arrays of 8 bytes, and two vectors that are 16 numbers.
        unsafe {
            let half = |i: usize| {
                let steps = _mm256_cvtepi8_epi32(_mm_loadl_epi64(halves[i].as_ptr().cast()));
                _mm256_mul_ps(_mm256_cvtepi32_ps(steps), _mm256_set1_ps(factor))
            };
            std::mem::transmute([half(0), half(1)])
        }
    }

    #[inline(always)]
    fn f16(self, block: &[u8], at: usize) -> f32 {
        let bits = i32::from(u16_at(block, at));
        // SAFETY: the machine has F16C.
        unsafe { _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(bits))) }
    }
}
