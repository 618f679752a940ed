//! y[r, c] = act(x[r, c])
//!
//! SiLU: x / (1 + e⁻ˣ).      GELU: x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³))), the form that GPT-2 was trained with.

use crate::graph::{Shape, Step};
use crate::ops::Value;

/// An activation function. Its number is what kernels call it by (`wgsl/lib/activation.wgsl`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// x / (1 + e⁻ˣ).
    Silu = 0,
    /// The tanh form.
    Gelu = 1,
}

impl Activation {
    /// act(x), rounded once.
    pub fn of(self, x: f32) -> f32 {
        let x = x as f64;
        let y = match self {
            Activation::Silu => x / (1.0 + (-x).exp()),
            Activation::Gelu => {
                let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
                0.5 * x * (1.0 + inner.tanh())
            }
        };
        y as f32
    }
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
