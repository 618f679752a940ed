//! 32 bytes side by side, one for each weight of a group: how formats read them is written once over [`Bytes`], for plain arrays and for
//! vectors.

#[cfg(target_arch = "x86_64")]
pub(super) mod avx2;

use super::block::{GROUP, f16_at};

/// What is done with 32 bytes. All methods must be `#[inline(always)]`.
pub(super) trait Bytes: Copy {
    /// 32 bytes.
    type All: Copy;

    /// Bytes as a block has them.
    fn load(self, bytes: &[u8; GROUP]) -> Self::All;

    /// Bytes that were put together one by one or in halves.
    fn gather(self, bytes: &[u8; GROUP]) -> Self::All;

    /// The low halves of 16 bytes, then their high halves.
    fn nibbles(self, bytes: &[u8; 16]) -> Self::All;

    /// The `count` bits from bit `from` on of each byte, with the lowest at bit `to` and zeros around them.
    fn bits(self, bytes: Self::All, from: usize, count: usize, to: usize) -> Self::All;

    /// The bytes with bit i of `word` as bit `to` of byte i, which is not set yet.
    fn spread(self, bytes: Self::All, word: u32, to: usize) -> Self::All;

    /// The bits of both.
    fn or(self, a: Self::All, b: Self::All) -> Self::All;

    /// All bytes and `offset`, which goes round.
    fn raised(self, bytes: Self::All, offset: u8) -> Self::All;

    /// What the table has for each byte, which is below 16.
    fn lookup(self, table: &[u8; 16], bytes: Self::All) -> Self::All;

    /// `factor` times each step.
    fn times(self, factor: f32, steps: &[i8; 16]) -> [f32; 16];

    /// The f16 at `at` of a block, as f32.
    fn f16(self, block: &[u8], at: usize) -> f32;
}

/// Plain arrays, of which compilers make the vectors of the loop that they are in.
#[derive(Clone, Copy)]
pub(super) struct Plain;

// Loops: what `map` makes of an array is not inlined into loops for vectors.
impl Bytes for Plain {
    type All = [u8; GROUP];

    #[inline(always)]
    fn load(self, bytes: &[u8; GROUP]) -> [u8; GROUP] {
        *bytes
    }

    #[inline(always)]
    fn gather(self, bytes: &[u8; GROUP]) -> [u8; GROUP] {
        *bytes
    }

    #[inline(always)]
    fn nibbles(self, bytes: &[u8; 16]) -> [u8; GROUP] {
        let mut nibbles = [0; GROUP];
        for j in 0..16 {
            nibbles[j] = bytes[j] & 15;
            nibbles[j + 16] = bytes[j] >> 4;
        }
        nibbles
    }

    #[inline(always)]
    fn bits(self, mut bytes: [u8; GROUP], from: usize, count: usize, to: usize) -> [u8; GROUP] {
        for byte in &mut bytes {
            *byte = (*byte >> from & ((1 << count) - 1)) << to;
        }
        bytes
    }

    #[inline(always)]
    fn spread(self, mut bytes: [u8; GROUP], word: u32, to: usize) -> [u8; GROUP] {
        let word = word.to_le_bytes();
        for i in 0..GROUP {
            // A byte to each bit and a comparison: whole vectors, unlike a shift by i.
            bytes[i] |= u8::from(word[i / 8] & 1 << (i % 8) != 0) << to;
        }
        bytes
    }

    #[inline(always)]
    fn or(self, mut a: [u8; GROUP], b: [u8; GROUP]) -> [u8; GROUP] {
        for i in 0..GROUP {
            a[i] |= b[i];
        }
        a
    }

    #[inline(always)]
    fn raised(self, bytes: [u8; GROUP], offset: u8) -> [u8; GROUP] {
        let mut raised = [0; GROUP];
        for i in 0..GROUP {
            raised[i] = bytes[i].wrapping_add(offset);
        }
        raised
    }

    /// A comparison with each of the 16 bytes: whole vectors, unlike a load for each.
    #[inline(always)]
    fn lookup(self, table: &[u8; 16], bytes: [u8; GROUP]) -> [u8; GROUP] {
        let mut found = [0; GROUP];
        for (byte, &entry) in table.iter().enumerate() {
            for i in 0..GROUP {
                found[i] = if bytes[i] == byte as u8 { entry } else { found[i] };
            }
        }
        found
    }

    #[inline(always)]
    fn times(self, factor: f32, steps: &[i8; 16]) -> [f32; 16] {
        let mut products = [0.0; 16];
        for i in 0..16 {
            products[i] = factor * f32::from(steps[i]);
        }
        products
    }

    #[inline(always)]
    fn f16(self, block: &[u8], at: usize) -> f32 {
        f16_at(block, at)
    }
}
