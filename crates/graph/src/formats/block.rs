//! What a format says of its blocks, once, and what follows from it: `decode`, and Σ w·x over a row of them.
//!
//! Every quantised format is the same thing underneath: each 16 weights have a scale and a minimum, and each weight has a small
//! integer ([`Group`]). A format says how these are read from a block; the weights are decoded in registers and, for a
//! product, never written to memory. The loops are compiled for several sets of vector instructions; which one runs is chosen
//! from what the machine has.

use std::hint::black_box;

use multiversion::multiversion;

use super::bytes::{Bytes, Plain};
use super::int8::{ByteDot, byte_dot};

/// Weights of a group.
pub const GROUP: usize = 32;

/// Sums side by side: more exact than one, and whole vectors on any machine.
pub(super) const SUMS: usize = 16;

/// 32 consecutive weights: `w[i] = scale[i / 16] · q[i] − minimum[i / 16]`.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    /// A small integer for each weight.
    pub q: [i8; GROUP],
    /// What each half is multiplied with.
    pub scale: [f32; 2],
    /// What is subtracted then.
    pub minimum: [f32; 2],
}

/// How the weights of a quantised format are read as small integers.
#[derive(Clone, Copy, Debug)]
pub struct Groups {
    /// Reads the groups of whole blocks. Panics unless both are equally many weights.
    pub read: fn(blocks: &[u8], groups: &mut [Group]),
    /// Whether both halves of each group have one scale and one minimum.
    pub one_scale: bool,
    /// Whether any minimum is not zero.
    pub affine: bool,
    /// Σ w·x over rows of whole blocks, x in int8.
    pub byte_dot: ByteDot,
}

/// How the groups of a block of `BYTES` bytes and `WEIGHTS` weights are read. All functions must be inlined: on their own they are
/// compiled for the plainest machine.
pub(super) trait Block<const BYTES: usize, const WEIGHTS: usize> {
    /// Whether any minimum is not zero.
    const AFFINE: bool = false;
    /// Whether all 32 weights of a group share a scale.
    const ONE_SCALE: bool = true;
    /// What the codes are larger by than the integers that they stand for.
    const OFFSET: u8 = 0;
    /// The largest code; only x86's instructions ask.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code))]
    const MOST: u8 = u8::MAX;
    /// Where the f16 is that is the scale of a block of one group; the same.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code))]
    const SCALE_AT: Option<usize> = None;
    /// And the one that is its minimum, negative.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code))]
    const OFFSET_AT: Option<usize> = None;
    /// Whether plain loops are faster where the codes of all groups are read before any weight is made of them.
    const AHEAD: bool = false;
    /// Whether `dot` is faster where codes go through memory: of some, compilers make vectors of many parts.
    const STORED: bool = false;
    /// Whether codes come one by one from a grid: beside that products cost nothing, and those that all of x86's machines have will do.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code))]
    const LOOKED_UP: bool = false;
    /// What is read once for all groups of a block.
    type Header;

    /// Reads what the groups share.
    fn header<V: Bytes>(v: V, block: &[u8; BYTES]) -> Self::Header;

    /// The codes of group `g`: weights 32·g to 32·g + 31.
    fn codes<V: Bytes>(v: V, block: &[u8; BYTES], g: usize) -> V::All;

    /// What each half of group `g` is multiplied with.
    fn scale(block: &[u8; BYTES], header: &Self::Header, g: usize) -> [f32; 2];

    /// What is subtracted then.
    #[inline(always)]
    fn minimum(_: &[u8; BYTES], _: &Self::Header, _: usize) -> [f32; 2] {
        [0.0; 2]
    }
}

/// A block as plain loops read it.
pub(super) struct PlainBlock<'a, B: Block<BYTES, WEIGHTS>, const BYTES: usize, const WEIGHTS: usize> {
    block: &'a [u8; BYTES],
    header: B::Header,
    /// Where [`Block::AHEAD`].
    codes: [[u8; GROUP]; 8],
}

impl<'a, B: Block<BYTES, WEIGHTS>, const BYTES: usize, const WEIGHTS: usize>
    PlainBlock<'a, B, BYTES, WEIGHTS>
{
    #[inline(always)]
    pub fn of(block: &'a [u8; BYTES]) -> Self {
        let mut codes = [[0; GROUP]; 8];
        if B::AHEAD {
            for (g, codes) in codes.iter_mut().enumerate().take(WEIGHTS / GROUP) {
                *codes = B::codes(Plain, block, g);
            }
        }
        PlainBlock { block, header: B::header(Plain, block), codes }
    }

    #[inline(always)]
    pub fn group(&self, g: usize) -> Group {
        let PlainBlock { block, header, codes } = self;
        let (codes, mut q) = (if B::AHEAD { codes[g] } else { B::codes(Plain, block, g) }, [0; GROUP]);
        for i in 0..GROUP {
            q[i] = codes[i].wrapping_sub(B::OFFSET) as i8;
        }
        Group { q, scale: B::scale(block, header, g), minimum: B::minimum(block, header, g) }
    }
}

/// Groups of a block, hidden from the compiler where there are several: it would unroll `decode`'s loop over them and make vectors of what
/// different groups have in common, at a tenth of the speed.
#[inline(always)]
fn hidden_groups(weights: usize) -> usize {
    if weights == GROUP { 1 } else { black_box(weights / GROUP) }
}

/// What [`super::Format::groups`] is for a format with blocks.
pub(super) const fn groups<B: Block<BYTES, WEIGHTS>, const BYTES: usize, const WEIGHTS: usize>()
-> Option<Groups> {
    Some(Groups {
        read: read::<B, BYTES, WEIGHTS>,
        one_scale: B::ONE_SCALE,
        affine: B::AFFINE,
        byte_dot: byte_dot::<B, BYTES, WEIGHTS>,
    })
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma",))]
fn read<B: Block<BYTES, WEIGHTS>, const BYTES: usize, const WEIGHTS: usize>(
    blocks: &[u8],
    groups: &mut [Group],
) {
    let (blocks, odd_bytes) = blocks.as_chunks::<BYTES>();
    let whole = odd_bytes.is_empty() && blocks.len() * WEIGHTS == groups.len() * GROUP;
    assert!(whole, "groups: {} blocks of {BYTES} bytes for {} groups", blocks.len(), groups.len());
    for (block, groups) in blocks.iter().zip(groups.chunks_exact_mut(WEIGHTS / GROUP)) {
        let block = PlainBlock::<B, BYTES, WEIGHTS>::of(block);
        for (g, group) in groups.iter_mut().enumerate() {
            *group = block.group(g);
        }
    }
}

/// Decodes whole blocks to f32, exactly.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma",))]
pub(super) fn decode<B: Block<BYTES, WEIGHTS>, const BYTES: usize, const WEIGHTS: usize>(
    blocks: &[u8],
    weights: &mut [f32],
) {
    let ((blocks, odd_bytes), (weights, odd_weights)) =
        (blocks.as_chunks::<BYTES>(), weights.as_chunks_mut::<WEIGHTS>());
    let whole = odd_bytes.is_empty() && odd_weights.is_empty() && blocks.len() == weights.len();
    assert!(
        whole,
        "decode: {} blocks of {BYTES} bytes for {} of {WEIGHTS} weights",
        blocks.len(),
        weights.len()
    );
    let groups = hidden_groups(WEIGHTS);
    for (block, weights) in blocks.iter().zip(weights) {
        let block = PlainBlock::<B, BYTES, WEIGHTS>::of(block);
        for (g, w) in weights.as_chunks_mut::<GROUP>().0.iter_mut().enumerate().take(groups) {
            let Group { q, scale, minimum } = block.group(g);
            let (low, high) = w.split_at_mut(SUMS);
            for i in 0..SUMS {
                low[i] = scale[0] * f32::from(q[i]);
                high[i] = scale[1] * f32::from(q[i + 16]);
                if B::AFFINE {
                    low[i] -= minimum[0];
                    high[i] -= minimum[1];
                }
            }
        }
    }
}

/// Σ w·x over a row of whole blocks, in f32.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma",))]
pub(super) fn dot<B: Block<BYTES, WEIGHTS>, const BYTES: usize, const WEIGHTS: usize>(
    row: &[u8],
    x: &[f32],
) -> f32 {
    let ((blocks, odd_bytes), (xs, odd_x)) = (row.as_chunks::<BYTES>(), x.as_chunks::<WEIGHTS>());
    let whole = odd_bytes.is_empty() && odd_x.is_empty() && blocks.len() == xs.len();
    assert!(whole, "dot: {} bytes of weights for {} numbers", row.len(), x.len());
    let mut sums = [0.0; SUMS];
    for (block, x) in blocks.iter().zip(xs) {
        let block = PlainBlock::<B, BYTES, WEIGHTS>::of(block);
        for (g, x) in x.as_chunks::<GROUP>().0.iter().enumerate() {
            let Group { q, scale, minimum } = block.group(g);
            let q = if B::STORED { black_box(q) } else { q };
            let q = |i: usize| f32::from(q[i]);
            for (i, sum) in sums.iter_mut().enumerate() {
                if B::AFFINE {
                    *sum += (scale[0] * q(i) - minimum[0]) * x[i]
                        + (scale[1] * q(i + 16) - minimum[1]) * x[i + 16];
                } else if B::ONE_SCALE {
                    *sum += scale[0] * (q(i) * x[i] + q(i + 16) * x[i + 16]);
                } else {
                    *sum += scale[0] * (q(i) * x[i]);
                    *sum += scale[1] * (q(i + 16) * x[i + 16]);
                }
            }
        }
    }
    sums.iter().map(|&sum| f64::from(sum)).sum::<f64>() as f32
}

/// How a float of `BYTES` bytes is read, of the formats that have no blocks. Must be inlined, too.
pub(super) trait Float<const BYTES: usize> {
    /// The number.
    fn number(bytes: [u8; BYTES]) -> f32;
}

/// Decodes floats to f32, exactly.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma",))]
pub(super) fn decode_floats<F: Float<BYTES>, const BYTES: usize>(row: &[u8], weights: &mut [f32]) {
    let (floats, odd_bytes) = row.as_chunks::<BYTES>();
    let same = odd_bytes.is_empty() && floats.len() == weights.len();
    assert!(same, "decode: {} bytes for {} floats of {BYTES}", row.len(), weights.len());
    for (w, &bytes) in weights.iter_mut().zip(floats) {
        *w = F::number(bytes);
    }
}

/// Σ w·x over a row of floats: 16 at a time, the last ones filled up with zeros.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl+avx2+fma", "x86_64+avx2+fma",))]
pub(super) fn dot_floats<F: Float<BYTES>, const BYTES: usize>(row: &[u8], x: &[f32]) -> f32 {
    let (floats, odd_bytes) = row.as_chunks::<BYTES>();
    let same = odd_bytes.is_empty() && floats.len() == x.len();
    assert!(same, "dot: {} bytes of weights for {} numbers", row.len(), x.len());
    let ((floats, odd_floats), (xs, odd_x)) = (floats.as_chunks::<SUMS>(), x.as_chunks::<SUMS>());
    let mut sums = [0.0; SUMS];
    for (floats, x) in floats.iter().zip(xs) {
        for (i, sum) in sums.iter_mut().enumerate() {
            *sum += F::number(floats[i]) * x[i];
        }
    }
    for ((sum, &bytes), x) in sums.iter_mut().zip(odd_floats).zip(odd_x) {
        *sum += F::number(bytes) * x;
    }
    sums.iter().map(|&sum| f64::from(sum)).sum::<f64>() as f32
}

/// The f16 at `at`, as f32: a scale, most often a normal number, which takes two operations.
#[inline(always)]
pub(super) fn f16_at(block: &[u8], at: usize) -> f32 {
    let bytes = [block[at], block[at + 1]];
    let bits = i32::from(i16::from_le_bytes(bytes));
    // Exponents 0 and 31 are those of other numbers. All others have a bias of 15 here and of 127 there.
    if (bits + 0x400) & 0x7800 != 0 {
        f32::from_bits(((bits << 13) as u32 & 0x8fff_e000) + (112 << 23))
    } else {
        rare_f16(bits)
    }
}

/// The same of other numbers. Arithmetic alone, so that nothing is left of it where nobody asks for the scale: what looks for the machine's
/// instructions first would stay.
#[cold]
#[inline]
fn rare_f16(bits: i32) -> f32 {
    /// The smallest f16 above 0.
    const LEAST: f32 = 1.0 / (1 << 24) as f32;
    let (sign, low) = ((bits << 16) as u32 & 0x8000_0000, bits as u32 & 0x3ff);
    let magnitude = match (bits & 0x7c00 == 0, low) {
        (true, _) => (low as f32 * LEAST).to_bits(),
        (false, 0) => f32::INFINITY.to_bits(),
        (false, _) => f32::NAN.to_bits() | low << 13,
    };
    f32::from_bits(sign | magnitude)
}

/// Each value and `offset`.
pub(super) const fn raised(values: [i8; 16], offset: u8) -> [u8; 16] {
    let (mut raised, mut i) = ([0; 16], 0);
    while i < 16 {
        raised[i] = offset.wrapping_add_signed(values[i]);
        i += 1;
    }
    raised
}

/// The `N` bytes at `at`.
#[inline(always)]
pub(super) fn bytes_at<const N: usize>(block: &[u8], at: usize) -> &[u8; N] {
    match block[at..].first_chunk() {
        Some(bytes) => bytes,
        None => panic!("{N} bytes at {at} of {}", block.len()),
    }
}

/// The u16 at `at`.
#[inline(always)]
pub(super) fn u16_at(block: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([block[at], block[at + 1]])
}

/// The u32 at `at`.
#[inline(always)]
pub(super) fn u32_at(block: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]])
}

/// The 2 bits of each weight of run `run`: 128 weights are 4 runs of 32 in 32 bytes, run r in bits 2r and 2r + 1 of each.
#[inline(always)]
pub(super) fn pairs<V: Bytes>(v: V, block: &[u8], at: usize, run: usize) -> V::All {
    v.bits(v.load(bytes_at(block, at + run / 4 * 32)), run % 4 * 2, 2, 0)
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_scale_is_the_same_number_in_f32() {
        for bits in 0..=u16::MAX {
            let expected = half::f16::from_bits(bits).to_f32();
            let found = super::f16_at(&bits.to_le_bytes(), 0);
            assert!(found.to_bits() == expected.to_bits(), "{bits:#x}: {found:e}, expected {expected:e}");
        }
    }
}
