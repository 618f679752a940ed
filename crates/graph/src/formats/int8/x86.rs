//! The same by AVX2 and by AVX-512 VNNI.

// Several arrays go side by side: an index says so, and compilers unroll it.
#![allow(clippy::needless_range_loop)]

use std::arch::x86_64::*;
use std::hint::black_box;

use super::{Block, ByteProducts, ByteRow, EIGHT, Eight, GROUP};
use crate::formats::bytes::avx2::Avx2;

/// Bytes that come from memory together.
const LINE: usize = 64;

pub(super) fn has(with: ByteProducts) -> bool {
    let pairs = is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("f16c");
    match with {
        ByteProducts::Pairs => pairs,
        ByteProducts::Fours => {
            pairs
                && is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512vnni")
        }
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
    match with {
        // SAFETY: a machine with VNNI has AVX2, FMA and F16C.
        _ if B::LOOKED_UP => unsafe { by_pairs::<B, BYTES, WEIGHTS>(blocks, x, out) },
        // SAFETY: the machine has AVX2, FMA and F16C.
        ByteProducts::Pairs => unsafe { by_pairs::<B, BYTES, WEIGHTS>(blocks, x, out) },
        // SAFETY: the machine has these and VNNI.
        ByteProducts::Fours => unsafe { by_fours::<B, BYTES, WEIGHTS>(blocks, x, out) },
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn by_pairs<B: Block<BYTES, WEIGHTS>, const BYTES: usize, const WEIGHTS: usize>(
    blocks: &[[u8; BYTES]],
    x: &ByteRow,
    out: &mut [f32],
) {
    // SAFETY: this function is only entered on machines that have AVX2, FMA and F16C.
    unsafe { all_rows::<Pairs, B, BYTES, WEIGHTS>(blocks, x, out) }
}

#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni")]
fn by_fours<B: Block<BYTES, WEIGHTS>, const BYTES: usize, const WEIGHTS: usize>(
    blocks: &[[u8; BYTES]],
    x: &ByteRow,
    out: &mut [f32],
) {
    // SAFETY: this function is only entered on machines that have AVX2, FMA, F16C and VNNI.
    unsafe { all_rows::<Fours, B, BYTES, WEIGHTS>(blocks, x, out) }
}

/// Products of 32 bytes.
trait Products {
    /// The largest code that is multiplied as it is.
    const MOST: u8;

    /// Σ (w − offset)·x of each four, w at most [`Products::MOST`]; `offsets` is Σ offset·x of each four.
    ///
    /// # Safety
    /// The machine must have the instructions of the implementing type.
    unsafe fn unsigned(w: __m256i, x: __m256i, offsets: __m256i) -> __m256i;
}

/// By AVX2's products of u8 and i8, which it adds two by two in i16, saturated: 2 · 129 · 127 is the most that i16 holds.
struct Pairs;

impl Products for Pairs {
    const MOST: u8 = 129;

    #[inline(always)]
    unsafe fn unsigned(w: __m256i, x: __m256i, offsets: __m256i) -> __m256i {
        // SAFETY: the caller's.
        unsafe {
            let products = _mm256_madd_epi16(_mm256_maddubs_epi16(w, x), _mm256_set1_epi16(1));
            _mm256_sub_epi32(products, offsets)
        }
    }
}

/// By VNNI's, which it adds four by four in i32.
struct Fours;

impl Products for Fours {
    const MOST: u8 = u8::MAX;

    #[inline(always)]
    unsafe fn unsigned(w: __m256i, x: __m256i, offsets: __m256i) -> __m256i {
        // SAFETY: the caller's.
        unsafe { _mm256_dpbusd_epi32(_mm256_sub_epi32(_mm256_setzero_si256(), offsets), w, x) }
    }
}

/// Σ (code − offset)·x of each four.
///
/// # Safety
/// The machine must have AVX2 and the instructions of `P`.
#[inline(always)]
unsafe fn products<P: Products>(
    offset: u8,
    most: u8,
    codes: __m256i,
    x: __m256i,
    offsets: __m256i,
) -> __m256i {
    // SAFETY: the caller's.
    unsafe {
        if most <= P::MOST {
            return P::unsigned(codes, x, offsets);
        }
        // |w| by x with the sign of w: |w| is at most 128.
        let w = _mm256_sub_epi8(codes, _mm256_set1_epi8(offset as i8));
        P::unsigned(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w), _mm256_setzero_si256())
    }
}

/// As [`dot`].
///
/// # Safety
/// The machine must have AVX2, FMA, F16C and the instructions of `P`.
#[inline(always)]
unsafe fn all_rows<P: Products, B: Block<BYTES, WEIGHTS>, const BYTES: usize, const WEIGHTS: usize>(
    blocks: &[[u8; BYTES]],
    x: &ByteRow,
    out: &mut [f32],
) {
    // Two rows share what is read of x. Where a weight is more than a byte, what counts is how soon they come from memory: in their order.
    // SAFETY: the caller's.
    unsafe {
        if BYTES > WEIGHTS {
            by_rows::<P, B, BYTES, WEIGHTS, 1>(blocks, x, out);
        } else {
            by_rows::<P, B, BYTES, WEIGHTS, 2>(blocks, x, out);
        }
    }
}

/// `R` rows at a time.
///
/// # Safety
/// The machine must have AVX2, FMA, F16C and the instructions of `P`.
#[inline(always)]
unsafe fn by_rows<
    P: Products,
    B: Block<BYTES, WEIGHTS>,
    const BYTES: usize,
    const WEIGHTS: usize,
    const R: usize,
>(
    blocks: &[[u8; BYTES]],
    x: &ByteRow,
    out: &mut [f32],
) {
    let row = x.groups * GROUP / WEIGHTS;
    let count = out.len();
    // The last blocks of a row, and zeros behind them.
    let mut last = [[[0; BYTES]; EIGHT]; R];
    for (at, out) in out.chunks_mut(R).enumerate() {
        let mut rows = [&blocks[..0]; R];
        for r in 0..R {
            // Behind the last row that one once more.
            let first = (at * R + r).min(count - 1) * row;
            rows[r] = &blocks[first..first + row];
        }
        // SAFETY: the caller's.
        let sums = unsafe { side_by_side::<P, B, BYTES, WEIGHTS, R>(&rows, &mut last, &x.eights) };
        for (out, sum) in out.iter_mut().zip(sums) {
            *out = sum;
        }
    }
}

/// Sums of `R` rows. Blocks that are not eight groups are read from `last`, behind which are zeros.
///
/// # Safety
/// The machine must have AVX2, FMA, F16C and the instructions of `P`.
#[inline(always)]
unsafe fn side_by_side<
    P: Products,
    B: Block<BYTES, WEIGHTS>,
    const BYTES: usize,
    const WEIGHTS: usize,
    const R: usize,
>(
    rows: &[&[[u8; BYTES]]; R],
    last: &mut [[[u8; BYTES]; EIGHT]; R],
    x: &[Eight],
) -> [f32; R] {
    let (each, together) = (WEIGHTS / GROUP, EIGHT * GROUP / WEIGHTS);
    // SAFETY: the caller's. Compilers would make two shuffles of one whose places they know.
    let (v, none, halves) =
        unsafe { (Avx2::new(), _mm256_setzero_ps(), black_box(_mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1))) };
    // Sums of products side by side, which take turns, so that each waits for itself alone; and what minimums take off.
    let (mut sums, mut minimums) = ([[none; 2]; R], [none; R]);
    let mut scales = [[0.0; 2 * EIGHT]; R];
    for (i, x) in x.iter().enumerate() {
        let mut blocks = [&rows[0][..0]; R];
        for ((row, last), blocks) in rows.iter().zip(&mut *last).zip(&mut blocks) {
            *blocks = match row.get(i * together..(i + 1) * together) {
                Some(blocks) => blocks,
                None => {
                    let rest = &row[i * together..];
                    last[..rest.len()].copy_from_slice(rest);
                    &last[..together]
                }
            };
        }
        if R > 1 {
            prefetch::<BYTES>(
                rows[0].as_ptr().wrapping_add(R * (rows[0].len() + i * together)),
                R * together,
            );
        }
        for r in 0..R {
            // SAFETY: the caller's.
            unsafe { scale::<B, BYTES, WEIGHTS>(v, blocks[r], x, &mut scales[r], &mut minimums[r]) };
        }
        // Loads for all lanes, which cost nothing beside arithmetic: compilers would shuffle what they know instead.
        let scales = black_box(&scales);
        for g in 0..EIGHT {
            // SAFETY: the caller's; an array of 32 bytes.
            unsafe {
                let x = _mm256_loadu_si256(x.q[g].as_ptr().cast());
                let offsets = match B::OFFSET {
                    0 => _mm256_setzero_si256(),
                    offset => P::unsigned(_mm256_set1_epi8(offset as i8), x, _mm256_setzero_si256()),
                };
                for r in 0..R {
                    let codes = B::codes(v, &blocks[r][g / each], g % each);
                    let products = products::<P>(B::OFFSET, B::MOST, codes, x, offsets);
                    let scale = match B::ONE_SCALE {
                        true => _mm256_set1_ps(scales[r][g]),
                        false => {
                            let both = _mm256_set1_pd(bytemuck::cast(scales[r].as_chunks::<2>().0[g]));
                            _mm256_permutevar_ps(_mm256_castpd_ps(both), halves)
                        }
                    };
                    let sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(products), scale, sums[r][0]);
                    sums[r] = [sums[r][1], sum];
                }
            }
        }
    }
    let mut totals = [0.0; R];
    for r in 0..R {
        let mut lanes = [0.0f32; 8];
        // SAFETY: the caller's; an array of 8 numbers.
        unsafe {
            let sum = _mm256_add_ps(sums[r][0], sums[r][1]);
            let sum = if B::AFFINE { _mm256_sub_ps(sum, minimums[r]) } else { sum };
            _mm256_storeu_ps(lanes.as_mut_ptr(), sum);
        }
        totals[r] = lanes.iter().sum();
    }
    totals
}

/// Asks for the lines of blocks that the next rows have, in the order of memory: machines do not see by themselves what is read there in turns.
#[inline(always)]
fn prefetch<const BYTES: usize>(blocks: *const [u8; BYTES], count: usize) {
    for at in (0..count * BYTES).step_by(LINE) {
        // SAFETY: every x86-64 machine has the instruction, which does nothing where there is no memory.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(blocks.cast::<i8>().wrapping_add(at)) };
    }
}

/// A scale for each of eight groups, or two.
type Scales = [f32; 2 * EIGHT];

/// Scales of eight groups, times those of x, and what minimums take off.
///
/// # Safety
/// The machine must have AVX2, FMA and F16C.
#[inline(always)]
unsafe fn scale<B: Block<BYTES, WEIGHTS>, const BYTES: usize, const WEIGHTS: usize>(
    v: Avx2,
    blocks: &[[u8; BYTES]],
    x: &Eight,
    scales: &mut Scales,
    minimums: &mut __m256,
) {
    let each = WEIGHTS / GROUP;
    let (mut of_w, mut smallest) = ([0.0; 2 * EIGHT], [[0.0; EIGHT]; 2]);
    if B::SCALE_AT.is_none() {
        for (b, block) in blocks.iter().enumerate() {
            let header = B::header(v, block);
            for g in 0..each {
                let (scale, minimum) = (B::scale(block, &header, g), B::minimum(block, &header, g));
                let at = b * each + g;
                if B::ONE_SCALE {
                    of_w[at] = scale[0];
                } else {
                    of_w[2 * at..2 * at + 2].copy_from_slice(&scale);
                }
                (smallest[0][at], smallest[1][at]) = (minimum[0], minimum[1]);
            }
        }
    }
    // SAFETY: the caller's; arrays of 8 numbers.
    unsafe {
        let load = |numbers: &[f32; EIGHT]| _mm256_loadu_ps(numbers.as_ptr());
        let of_x = load(&x.scale);
        let of_w = of_w.as_chunks().0;
        let mut store = |i: usize, a: __m256, b: __m256| {
            _mm256_storeu_ps(scales[EIGHT * i..].as_mut_ptr(), _mm256_mul_ps(a, b));
        };
        match B::SCALE_AT {
            Some(at) => store(0, v.halves(blocks, at), of_x),
            None if B::ONE_SCALE => store(0, load(&of_w[0]), of_x),
            None => {
                let twice =
                    |a, b, c, d| _mm256_permutevar8x32_ps(of_x, _mm256_setr_epi32(a, a, b, b, c, c, d, d));
                store(0, load(&of_w[0]), twice(0, 1, 2, 3));
                store(1, load(&of_w[1]), twice(4, 5, 6, 7));
            }
        }
        if B::AFFINE {
            let sums = [load(&x.sums[0]), load(&x.sums[1])];
            *minimums = match B::OFFSET_AT {
                Some(at) => {
                    _mm256_fnmadd_ps(v.halves(blocks, at), _mm256_add_ps(sums[0], sums[1]), *minimums)
                }
                None if B::ONE_SCALE => {
                    _mm256_fmadd_ps(load(&smallest[0]), _mm256_add_ps(sums[0], sums[1]), *minimums)
                }
                None => {
                    let first = _mm256_fmadd_ps(load(&smallest[0]), sums[0], *minimums);
                    _mm256_fmadd_ps(load(&smallest[1]), sums[1], first)
                }
            };
        }
    }
}
