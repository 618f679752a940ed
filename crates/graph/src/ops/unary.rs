//! y[r, c] = act(x[r, c])
//!
//! SiLU: x / (1 + e⁻ˣ).      GELU: x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³))), or with the error function, x/2 · (1 + erf(x/√2)).
//! Squared ReLU: max(x, 0)².      Sigmoid: 1 / (1 + e⁻ˣ).      Quick GELU: x / (1 + e⁻¹·⁷⁰²ˣ), Hendrycks & Gimpel 2016, arXiv 1606.08415.

use crate::graph::{Shape, Step};
use crate::ops::Value;

/// An activation function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// x / (1 + e⁻ˣ).
    Silu,
    /// The tanh form of GELU.
    Gelu,
    /// GELU with the error function.
    GeluErf,
    /// max(x, 0)².
    SquaredRelu,
    /// 1 / (1 + e⁻ˣ).
    Sigmoid,
    /// x / (1 + e⁻¹·⁷⁰²ˣ).
    QuickGelu,
}

/// The factor in quick GELU.
pub const QUICK_GELU: f32 = 1.702;

impl Activation {
    /// All of them.
    pub const ALL: [Activation; 6] = [
        Activation::Silu,
        Activation::Gelu,
        Activation::GeluErf,
        Activation::SquaredRelu,
        Activation::Sigmoid,
        Activation::QuickGelu,
    ];

    /// act(x), rounded once.
    pub fn of(self, x: f32) -> f32 {
        let x = x as f64;
        let y = match self {
            Activation::Silu => x / (1.0 + (-x).exp()),
            Activation::Gelu => {
                let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
                0.5 * x * (1.0 + inner.tanh())
            }
            Activation::GeluErf => 0.5 * x * (1.0 + erf(x * std::f64::consts::FRAC_1_SQRT_2)),
            Activation::SquaredRelu => x.max(0.0).powi(2),
            Activation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            Activation::QuickGelu => x / (1.0 + (-QUICK_GELU as f64 * x).exp()),
        };
        y as f32
    }
}

/// The error function, by its Maclaurin series where that converges quickly and by the continued fraction of its complement beyond:
/// Abramowitz & Stegun 1964, 7.1.5 and 7.1.14. Right to 1e-14.
fn erf(x: f64) -> f64 {
    let (z, sign) = (x.abs(), x.signum());
    if z < 2.5 {
        let (mut term, mut sum) = (z, z);
        for n in 1..60 {
            term *= -z * z / n as f64;
            sum += term / (2 * n + 1) as f64;
        }
        return sign * sum * std::f64::consts::FRAC_2_SQRT_PI;
    }
    let fraction = (1..60).rev().fold(z, |below, n| z + n as f64 / 2.0 / below);
    sign * (1.0 - (-z * z).exp() / (fraction * std::f64::consts::PI.sqrt()))
}

/// An activation function of every number.
#[derive(Clone, Debug, PartialEq)]
pub struct Unary {
    /// Which.
    pub act: Activation,
}

impl Unary {
    pub(super) fn bound(&self) -> f64 {
        1e-7
    }

    pub(super) fn shape(&self, inputs: &[Shape]) -> Shape {
        inputs[0]
    }

    pub(super) fn reference(&self, _: &Step, inputs: &[Value<'_>], out: &mut [f32]) {
        for (y, &x) in out.iter_mut().zip(inputs[0].rows().0) {
            *y = self.act.of(x);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_function_is_that_of_the_tables() {
        for (x, y) in
            [(0.1, 0.112462916018), (1.0, 0.842700792950), (2.0, 0.995322265019), (2.6, 0.999763965583)]
        {
            assert!((erf(x) - y).abs() < 1e-11 && (erf(-x) + y).abs() < 1e-11, "erf({x}) is {}", erf(x));
        }
    }
}
