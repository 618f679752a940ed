//! Σ w·x over rows of blocks with x in int8: sums of products of bytes, exact in i32, with a scale of x for each 32 and those of the weights.
//!
//! What a format says of its blocks is read in registers, as in `dot`. A few rows of weights go side by side, so that x is loaded once for them.

#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "x86_64")]
mod x86;

use super::block::{Block, GROUP};

/// Groups that are read together: what is scalar of one goes beside what is not of another.
const EIGHT: usize = 8;

/// Instructions that multiply bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteProducts {
    /// Those that add two neighbours: AVX2 with FMA and F16C, or NEON.
    Pairs,
    /// Those that add four: AVX-512 VNNI for vectors of 256 bits, or NEON's dot products.
    Fours,
}

impl ByteProducts {
    /// Whether this machine has them.
    pub fn are_here(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        return x86::has(self);
        #[cfg(target_arch = "aarch64")]
        return neon::has(self);
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        false
    }
}

/// 32 numbers, rounded to int8.
#[derive(Clone, Copy, Debug)]
pub struct ByteGroup {
    /// The integers, −127 to 127.
    pub q: [i8; GROUP],
    /// What they are multiplied with.
    pub scale: f32,
    /// Sums of the first and of the last 16 numbers, before rounding.
    pub sums: [f32; 2],
}

/// A row of numbers, rounded to int8 with a scale for each 32.
#[derive(Clone, Debug, Default)]
pub struct ByteRow {
    /// Zeros follow the last group.
    eights: Vec<Eight>,
    groups: usize,
}

/// Eight groups.
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(not(any(target_arch = "x86_64", target_arch = "aarch64")), allow(dead_code))]
#[repr(C, align(64))]
struct Eight {
    q: [[i8; GROUP]; EIGHT],
    scale: [f32; EIGHT],
    /// Of the first halves and of the last ones.
    sums: [[f32; EIGHT]; 2],
}

impl ByteRow {
    /// Takes over a row's groups, in place of those that are there.
    #[inline(always)]
    pub fn fill(&mut self, groups: impl ExactSizeIterator<Item = ByteGroup>) {
        self.groups = groups.len();
        self.eights.clear();
        self.eights.resize(self.groups.div_ceil(EIGHT), Eight::default());
        for (at, group) in groups.enumerate() {
            let (eight, i) = (&mut self.eights[at / EIGHT], at % EIGHT);
            (eight.q[i], eight.scale[i]) = (group.q, group.scale);
            (eight.sums[0][i], eight.sums[1][i]) = (group.sums[0], group.sums[1]);
        }
    }
}

/// `out[r]` = Σ w·x of row r: rows of whole blocks that follow each other, each as many numbers as x. Panics where they are not, and on a machine
/// that does not have the instructions.
pub type ByteDot = fn(with: ByteProducts, rows: &[u8], x: &ByteRow, out: &mut [f32]);

/// What [`super::Groups::byte_dot`] is for a format with blocks.
pub(super) fn byte_dot<B: Block<BYTES, WEIGHTS>, const BYTES: usize, const WEIGHTS: usize>(
    with: ByteProducts,
    rows: &[u8],
    x: &ByteRow,
    out: &mut [f32],
) {
    let (blocks, odd_bytes) = rows.as_chunks::<BYTES>();
    let each = WEIGHTS / GROUP;
    let whole = x.groups.is_multiple_of(each) && blocks.len() * each == out.len() * x.groups;
    assert!(
        whole && odd_bytes.is_empty(),
        "byte_dot: {} bytes of weights for {} rows of {} groups",
        rows.len(),
        out.len(),
        x.groups
    );
    assert!(with.are_here(), "this machine has no {with:?} of products of bytes");
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the machine has these instructions.
    unsafe {
        x86::dot::<B, BYTES, WEIGHTS>(with, blocks, x, out)
    };
    #[cfg(target_arch = "aarch64")]
    // SAFETY: the machine has these instructions.
    unsafe {
        neon::dot::<B, BYTES, WEIGHTS>(with, blocks, x, out)
    };
}
