//! eˣ of sixteen numbers side by side, in f32, and the activation functions that are made of it.

// Several arrays go side by side: an index says so, and compilers unroll it.
#![allow(clippy::needless_range_loop)]

use super::lanes::LANES;
use crate::ops::{Activation, QUICK_GELU};

/// eˣ, within 2⁻²² of it, for x from −87 to 88; beyond that what it is there. Not a number stays that.
///
/// x = n·ln 2 + r with |r| ≤ ln 2 / 2, and of eʳ the series to the seventh power, which is 5·10⁻⁹ off at most. ln 2 is
/// subtracted in two parts, of which the first one times n is exact.
#[inline(always)]
pub(super) fn exp<const FUSED: bool>(x: [f32; LANES]) -> [f32; LANES] {
    const LN2_HIGH: f32 = 0.693_359_4; // 355 / 512
    const LN2_LOW: f32 = (std::f64::consts::LN_2 - 355.0 / 512.0) as f32;
    /// Added and subtracted, it rounds to a whole number, and the sum's lowest bits are that number.
    const ROUND: f32 = 1.5 * (1 << 23) as f32;
    let fma = |a: f32, b: f32, c: f32| if FUSED { a.mul_add(b, c) } else { a * b + c };
    let mut y = x;
    for y in &mut y {
        // Comparisons, not max and min: those would make a number of what is none.
        let x = if *y < -87.0 { -87.0 } else { *y };
        let x = if x > 88.0 { 88.0 } else { x };
        let sum = fma(x, std::f32::consts::LOG2_E, ROUND);
        let n = sum - ROUND;
        let r = fma(n, -LN2_LOW, fma(n, -LN2_HIGH, x));
        let mut e = 1.0 / 5040.0;
        for factor in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
            e = fma(e, r, factor);
        }
        let power = f32::from_bits((sum.to_bits() << 23).wrapping_add(127 << 23));
        *y = e * power;
    }
    y
}

/// act(x).
#[inline(always)]
pub(super) fn activate<const FUSED: bool>(act: Activation, x: [f32; LANES]) -> [f32; LANES] {
    /// 2 · √(2/π): (1 + tanh t) / 2 = 1 / (1 + e⁻²ᵗ).
    const FACTOR: f32 = 1.595_769;
    let mut y = x;
    match act {
        Activation::Silu | Activation::Sigmoid => {
            let share = sigmoid::<FUSED>(x);
            for i in 0..LANES {
                y[i] = if act == Activation::Silu { x[i] * share[i] } else { share[i] };
            }
        }
        Activation::Gelu => {
            let mut u = x;
            for u in &mut u {
                *u *= FACTOR * (1.0 + 0.044715 * *u * *u);
            }
            let share = sigmoid::<FUSED>(u);
            for i in 0..LANES {
                y[i] *= share[i];
            }
        }
        Activation::QuickGelu => {
            let mut u = x;
            for u in &mut u {
                *u *= QUICK_GELU;
            }
            let share = sigmoid::<FUSED>(u);
            for i in 0..LANES {
                y[i] *= share[i];
            }
        }
        Activation::SquaredRelu => {
            for y in &mut y {
                *y = if *y > 0.0 { *y * *y } else { 0.0 };
            }
        }
        Activation::GeluErf => {
            for y in &mut y {
                *y = act.of(*y);
            }
        }
    }
    y
}

/// 1 / (1 + e⁻ˣ).
#[inline(always)]
fn sigmoid<const FUSED: bool>(x: [f32; LANES]) -> [f32; LANES] {
    let mut y = x;
    for y in &mut y {
        *y = -*y;
    }
    y = exp::<FUSED>(y);
    for y in &mut y {
        *y = 1.0 / (1.0 + *y);
    }
    y
}

/// cap · tanh(x / cap), within cap · 2⁻²³ of it.
#[inline(always)]
pub(super) fn softcap<const FUSED: bool>(cap: f32, x: [f32; LANES]) -> [f32; LANES] {
    let mut y = x;
    for y in &mut y {
        *y *= 2.0 / cap;
    }
    y = sigmoid::<FUSED>(y);
    for y in &mut y {
        *y = cap * (2.0 * *y - 1.0);
    }
    y
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_near_that_of_f64() {
        let mut x = -87.0f32;
        while x < 88.0 {
            let (found, expected) = (exp::<false>([x; LANES])[0] as f64, (x as f64).exp());
            assert!((found / expected - 1.0).abs() < 2f64.powi(-22), "{x}: {found:e}, expected {expected:e}");
            x += 0.0137;
        }
        assert!(exp::<false>([f32::NAN; LANES])[0].is_nan());
        assert!(exp::<false>([f32::NEG_INFINITY; LANES])[0] < 1e-37);
    }
}
