//! Σ w·x over a row of stored weights and a row of f32: weights are decoded in registers and never written to memory.
//!
//! A format says what the products of a block are ([`Products`]), in plain loops over arrays. The loop around them is compiled
//! for several sets of vector instructions; which one runs is chosen from what the machine has.

use multiversion::multiversion;

/// Sums side by side: more exact than one, and whole vectors on any machine.
pub(super) const SUMS: usize = 16;

/// What a format knows of Σ w·x: the products of one block, spread over the sums.
pub(super) trait Products<const BYTES: usize, const WEIGHTS: usize> {
    /// The weights are those of `decode`. Must be inlined: on its own it is compiled for the plainest machine.
    fn of(block: &[u8; BYTES], x: &[f32; WEIGHTS]) -> [f32; SUMS];
}

/// Σ w·x over a row of whole blocks. Floats, which have none, come [`SUMS`] at a time, the last ones filled up with zeros.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma",))]
pub(super) fn dot<P: Products<BYTES, WEIGHTS>, const BYTES: usize, const WEIGHTS: usize>(
    row: &[u8],
    x: &[f32],
) -> f32 {
    let ((blocks, odd_bytes), (xs, odd_x)) = (row.as_chunks::<BYTES>(), x.as_chunks::<WEIGHTS>());
    let same = blocks.len() == xs.len() && odd_bytes.len() * WEIGHTS == odd_x.len() * BYTES;
    assert!(same, "dot: {} bytes of weights for {} numbers", row.len(), x.len());
    let mut sums = [0.0; SUMS];
    for (block, x) in blocks.iter().zip(xs) {
        for (sum, product) in sums.iter_mut().zip(P::of(block, x)) {
            *sum += product;
        }
    }
    if WEIGHTS == SUMS && !odd_x.is_empty() {
        let (mut block, mut x) = ([0; BYTES], [0.0; WEIGHTS]);
        block[..odd_bytes.len()].copy_from_slice(odd_bytes);
        x[..odd_x.len()].copy_from_slice(odd_x);
        for (sum, product) in sums.iter_mut().zip(P::of(&block, &x)) {
            *sum += product;
        }
    }
    sums.iter().map(|&sum| f64::from(sum)).sum::<f64>() as f32
}

/// The products of floats that are `BYTES` bytes each, of which `float` is the number.
#[inline(always)]
pub(super) fn floats<const BYTES: usize>(
    weights: &[[u8; BYTES]],
    x: &[f32; SUMS],
    float: impl Fn([u8; BYTES]) -> f32,
) -> [f32; SUMS] {
    let mut products = *x;
    for (x, &w) in products.iter_mut().zip(weights) {
        *x *= float(w);
    }
    products
}

/// The f16 at `at`, as f32: a scale, most often a normal number, which takes two operations.
#[inline(always)]
pub(super) fn scale(block: &[u8], at: usize) -> f32 {
    let bytes = [block[at], block[at + 1]];
    let bits = i32::from(i16::from_le_bytes(bytes));
    // Exponents 0 and 31 are those of other numbers. All others have a bias of 15 here and of 127 there.
    if (bits + 0x400) & 0x7800 != 0 {
        f32::from_bits(((bits << 13) as u32 & 0x8fff_e000) + (112 << 23))
    } else {
        half::f16::from_le_bytes(bytes).to_f32()
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_scale_is_the_same_number_in_f32() {
        for bits in 0..=u16::MAX {
            let expected = half::f16::from_bits(bits).to_f32();
            let found = super::scale(&bits.to_le_bytes(), 0);
            assert!(found.to_bits() == expected.to_bits(), "{bits:#x}: {found:e}, expected {expected:e}");
        }
    }
}
