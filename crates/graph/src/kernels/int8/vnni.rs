//! Products of int8 by AVX-512 VNNI.

// Several arrays go side by side: an index says so, and compilers unroll it.
#![allow(clippy::needless_range_loop)]

use std::arch::x86_64::*;

use super::{Coded, Codes, GROUPS, LANES};

/// Rows of weights whose sums fit into registers.
pub(super) const ROWS: usize = 8;

/// y[r] (+)= the products of row r of R rows of weights, [`GROUPS`] apart, with x; rows of y are `stride` apart.
#[target_feature(enable = "avx512f,avx512vnni")]
pub(super) fn tile<const R: usize, const ONE_SCALE: bool, const AFFINE: bool>(
    w: &[Coded],
    x: &[Codes],
    y: &mut [[f32; LANES]],
    stride: usize,
    add: bool,
) {
    assert!((R - 1) * GROUPS + x.len() <= w.len() && (R - 1) * stride < y.len());
    let mut sums = [_mm512_setzero_ps(); R];
    for (g, x) in x.iter().enumerate() {
        let mut q = [_mm512_setzero_si512(); 8];
        for i in 0..8 {
            // SAFETY: 16 times 4 bytes.
            q[i] = unsafe { _mm512_loadu_si512(x.q[i].as_ptr().cast()) };
        }
        let scale = load(&x.scale);
        for r in 0..R {
            // SAFETY: the largest index was found to be inside the slice.
            let Coded { group, base } = unsafe { w.get_unchecked(r * GROUPS + g) };
            let fours = group.q.as_chunks::<4>().0;
            let mut low = _mm512_set1_epi32(base[0]);
            let mut high = if ONE_SCALE { low } else { _mm512_set1_epi32(base[1]) };
            for i in 0..4 {
                low = _mm512_dpbusd_epi32(low, q[i], _mm512_set1_epi32(bytemuck::cast(fours[i])));
                let four = _mm512_set1_epi32(bytemuck::cast(fours[i + 4]));
                if ONE_SCALE {
                    low = _mm512_dpbusd_epi32(low, q[i + 4], four);
                } else {
                    high = _mm512_dpbusd_epi32(high, q[i + 4], four);
                }
            }
            let products = _mm512_mul_ps(_mm512_cvtepi32_ps(low), scale);
            sums[r] = _mm512_fmadd_ps(products, _mm512_set1_ps(group.scale[0]), sums[r]);
            if !ONE_SCALE {
                let products = _mm512_mul_ps(_mm512_cvtepi32_ps(high), scale);
                sums[r] = _mm512_fmadd_ps(products, _mm512_set1_ps(group.scale[1]), sums[r]);
            }
            if AFFINE {
                for half in 0..2 {
                    let minimum = _mm512_set1_ps(group.minimum[half]);
                    sums[r] = _mm512_fnmadd_ps(load(&x.sums[half]), minimum, sums[r]);
                }
            }
        }
    }
    for r in 0..R {
        let y = &mut y[r * stride];
        let sum = if add { _mm512_add_ps(load(y), sums[r]) } else { sums[r] };
        // SAFETY: an array of 16 numbers.
        unsafe { _mm512_storeu_ps(y.as_mut_ptr(), sum) };
    }
}

#[target_feature(enable = "avx512f")]
fn load(x: &[f32; LANES]) -> __m512 {
    // SAFETY: an array of 16 numbers.
    unsafe { _mm512_loadu_ps(x.as_ptr()) }
}
