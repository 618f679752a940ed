//! Sixteen f32 side by side in whatever vectors the machine has, and the choice of the machine's instructions.
//!
//! A [`Kernel`] is written once over [`Lanes`] and compiled for each set of [`Instructions`].

// Several arrays go side by side: an index says so, and compilers unroll it.
#![allow(clippy::needless_range_loop)]

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

/// Numbers that are computed side by side.
pub(super) const LANES: usize = 16;

/// Sets of vector instructions that kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instructions {
    /// What every machine of the target has.
    Plain,
    /// AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX-512 F, BW, DQ and VL.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// The same and VNNI, dot products of int8.
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni,
    /// NEON, which is plain there, and its dot products of int8.
    #[cfg(target_arch = "aarch64")]
    DotProducts,
}

impl Instructions {
    /// All sets that this machine has, the best one last.
    pub fn available() -> Vec<Instructions> {
        #[cfg_attr(not(any(target_arch = "x86_64", target_arch = "aarch64")), allow(unused_mut))]
        let mut all = vec![Instructions::Plain];
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            all.push(Instructions::Avx2);
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
            {
                all.push(Instructions::Avx512);
                if is_x86_feature_detected!("avx512vnni") {
                    all.push(Instructions::Avx512Vnni);
                }
            }
        }
        #[cfg(target_arch = "aarch64")]
        if std::arch::is_aarch64_feature_detected!("dotprod") {
            all.push(Instructions::DotProducts);
        }
        all
    }

    /// The best set that this machine has.
    pub fn best() -> Instructions {
        Instructions::available().pop().unwrap_or(Instructions::Plain)
    }

    /// Runs a kernel with these instructions. Panics where the machine has not got them: only [`Instructions::available`] ones are
    /// for use.
    pub(super) fn run<K: Kernel>(self, kernel: K) {
        match self {
            // SAFETY: plain lanes need nothing.
            Instructions::Plain => unsafe { kernel.run::<[f32; LANES]>() },
            // SAFETY: neither do these.
            #[cfg(target_arch = "aarch64")]
            Instructions::DotProducts => unsafe { kernel.run::<[f32; LANES]>() },
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2 => {
                assert!(is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"));
                // SAFETY: the machine has AVX2 and FMA.
                unsafe { avx2(kernel) }
            }
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512 | Instructions::Avx512Vnni => {
                assert!(is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw"));
                assert!(is_x86_feature_detected!("avx512dq") && is_x86_feature_detected!("avx512vl"));
                // SAFETY: the machine has these parts of AVX-512.
                unsafe { avx512(kernel) }
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2<K: Kernel>(kernel: K) {
    // SAFETY: this function is only entered on machines that have AVX2 and FMA.
    unsafe { kernel.run::<[__m256; 2]>() }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
fn avx512<K: Kernel>(kernel: K) {
    // SAFETY: this function is only entered on machines that have AVX-512.
    unsafe { kernel.run::<__m512>() }
}

/// A loop that is compiled for each set of instructions.
pub(super) trait Kernel {
    /// Runs it. Must be `#[inline(always)]`, and so must be everything that it calls: on its own it is compiled for the plainest
    /// machine.
    ///
    /// # Safety
    /// The machine must have the instructions of `V`.
    unsafe fn run<V: Lanes>(self);
}

/// Sixteen f32.
///
/// # Safety
/// The machine must have the instructions of the implementing type wherever a method is called.
pub(super) trait Lanes: Copy {
    /// Whether the machine has 32 registers of all lanes: kernels then keep more numbers in them.
    const WIDE: bool;
    /// Whether a product and a sum are one instruction.
    const FUSED: bool;

    /// All lanes the same.
    unsafe fn splat(x: f32) -> Self;

    /// The lanes of an array.
    unsafe fn load(x: &[f32; LANES]) -> Self;

    /// The array of the lanes.
    unsafe fn store(self, to: &mut [f32; LANES]);

    /// self + other.
    unsafe fn add(self, other: Self) -> Self;

    /// a · b + self, rounded once where [`Lanes::FUSED`].
    unsafe fn add_product(self, a: Self, b: Self) -> Self;
}

impl Lanes for [f32; LANES] {
    const WIDE: bool = false;
    const FUSED: bool = cfg!(target_arch = "aarch64");

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        [x; LANES]
    }

    #[inline(always)]
    unsafe fn load(x: &[f32; LANES]) -> Self {
        *x
    }

    #[inline(always)]
    unsafe fn store(self, to: &mut [f32; LANES]) {
        *to = self;
    }

    #[inline(always)]
    unsafe fn add(mut self, other: Self) -> Self {
        for i in 0..LANES {
            self[i] += other[i];
        }
        self
    }

    #[inline(always)]
    unsafe fn add_product(mut self, a: Self, b: Self) -> Self {
        for i in 0..LANES {
            self[i] = if Self::FUSED { a[i].mul_add(b[i], self[i]) } else { a[i] * b[i] + self[i] };
        }
        self
    }
}

#[cfg(target_arch = "x86_64")]
impl Lanes for [__m256; 2] {
    const WIDE: bool = false;
    const FUSED: bool = true;

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        // SAFETY: the caller's.
        unsafe { [_mm256_set1_ps(x); 2] }
    }

    #[inline(always)]
    unsafe fn load(x: &[f32; LANES]) -> Self {
        // SAFETY: 16 numbers are two times 8.
        unsafe { [_mm256_loadu_ps(x.as_ptr()), _mm256_loadu_ps(x.as_ptr().add(8))] }
    }

    #[inline(always)]
    unsafe fn store(self, to: &mut [f32; LANES]) {
        // SAFETY: 16 numbers are two times 8.
        unsafe {
            _mm256_storeu_ps(to.as_mut_ptr(), self[0]);
            _mm256_storeu_ps(to.as_mut_ptr().add(8), self[1]);
        }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: the caller's.
        unsafe { [_mm256_add_ps(self[0], other[0]), _mm256_add_ps(self[1], other[1])] }
    }

    #[inline(always)]
    unsafe fn add_product(self, a: Self, b: Self) -> Self {
        // SAFETY: the caller's.
        unsafe { [_mm256_fmadd_ps(a[0], b[0], self[0]), _mm256_fmadd_ps(a[1], b[1], self[1])] }
    }
}

#[cfg(target_arch = "x86_64")]
impl Lanes for __m512 {
    const WIDE: bool = true;
    const FUSED: bool = true;

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        // SAFETY: the caller's.
        unsafe { _mm512_set1_ps(x) }
    }

    #[inline(always)]
    unsafe fn load(x: &[f32; LANES]) -> Self {
        // SAFETY: an array of 16 numbers.
        unsafe { _mm512_loadu_ps(x.as_ptr()) }
    }

    #[inline(always)]
    unsafe fn store(self, to: &mut [f32; LANES]) {
        // SAFETY: an array of 16 numbers.
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), self) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: the caller's.
        unsafe { _mm512_add_ps(self, other) }
    }

    #[inline(always)]
    unsafe fn add_product(self, a: Self, b: Self) -> Self {
        // SAFETY: the caller's.
        unsafe { _mm512_fmadd_ps(a, b, self) }
    }
}
