//! y[r, c] = act(x[r, c])
//!
//! SiLU: x / (1 + e⁻ˣ).      GELU: x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³))), the form that GPT-2 was trained with.

use crate::graph::{Shape, Step};
use crate::ops::{Dispatch, Extent, Op, Value};

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
#[derive(Debug)]
pub struct Unary {
    /// Which.
    pub act: Activation,
}

impl Op for Unary {
    fn name(&self) -> &'static str {
        "unary"
    }

    fn bound(&self) -> f64 {
        1e-7
    }

    fn shape(&self, inputs: &[Shape]) -> Shape {
        inputs[0]
    }

    fn constants(&self, inputs: &[Shape]) -> Vec<(&'static str, f64)> {
        vec![("STRIDE", inputs[0].stride() as f64), ("ACT", self.act as u32 as f64)]
    }

    fn reference(&self, _: &Step, inputs: &[Value<'_>], out: &mut [f32]) {
        for (y, &x) in out.iter_mut().zip(inputs[0].rows().0) {
            *y = self.act.of(x);
        }
    }

    fn dispatch(&self, inputs: &[Shape], out: Shape) -> Dispatch {
        let extent = Extent::Elements { rows: out.rows, cols: out.stride() as u32 / 4, tile: 64 };
        Dispatch { kernel: "unary", constants: self.constants(inputs), extent }
    }
}
