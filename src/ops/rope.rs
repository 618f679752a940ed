//! (y₁, y₂) = (x₁·cos θ − x₂·sin θ, x₁·sin θ + x₂·cos θ), θ = position · scale · base^(−2i/rotary) / factor[i]
//!
//! for the i-th pair of each head; numbers beyond `rotary` stay as they are.      Su et al. 2021, arXiv 2104.09864

use crate::graph::{Shape, Step};
use crate::ops::{Value, must};

/// Which two numbers of a head turn together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pairing {
    /// 2i and 2i + 1 (ggml's NORM).
    Neighbours,
    /// i and i + rotary / 2 (ggml's NEOX).
    Halves,
}

/// How positions turn the heads of a model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RopeShape {
    /// Length of a head.
    pub head_dim: usize,
    /// How many of its numbers turn.
    pub rotary: usize,
    /// Base of the frequencies.
    pub base: f32,
    /// Factor of the positions: 1 / the scaling factor of linear scaling.
    pub scale: f32,
    /// Which numbers turn together.
    pub pairing: Pairing,
}

impl RopeShape {
    fn angle(&self, position: u32, pair: usize, factors: Option<&[f32]>) -> f64 {
        let frequency = (self.base as f64).powf(-2.0 * pair as f64 / self.rotary as f64);
        position as f64 * self.scale as f64 * frequency / factors.map_or(1.0, |f| f[pair] as f64)
    }

    /// The two numbers of pair `i`, counted from the start of a head.
    fn pair(&self, i: usize) -> (usize, usize) {
        match self.pairing {
            Pairing::Neighbours => (2 * i, 2 * i + 1),
            Pairing::Halves => (i, i + self.rotary / 2),
        }
    }
}

/// Rotary positions on rows of heads; a second input holds factors that divide the frequencies.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope(pub RopeShape);

impl Rope {
    pub(super) fn bound(&self) -> f64 {
        1e-7
    }

    pub(super) fn shape(&self, inputs: &[Shape]) -> Shape {
        let s = &self.0;
        must("rope", inputs[0].cols.is_multiple_of(s.head_dim), "the columns are not whole heads");
        must(
            "rope",
            s.rotary.is_multiple_of(2) && s.rotary <= s.head_dim,
            "the rotary part is odd or longer than a head",
        );
        must("rope", inputs.get(1).is_none_or(|f| f.cols == s.rotary / 2), "not one factor for each pair");
        inputs[0]
    }

    /// `[context][rotary / 2]` pairs of cosine and sine, for frequencies divided by `factors`: they depend on the position
    /// alone, and a GPU's sine is not exact far from zero.
    pub fn table(&self, context: usize, factors: Option<&[f32]>) -> Vec<f32> {
        let mut table = Vec::with_capacity(context * self.0.rotary);
        for position in 0..context as u32 {
            for i in 0..self.0.rotary / 2 {
                let (sin, cos) = self.0.angle(position, i, factors).sin_cos();
                table.extend([cos as f32, sin as f32]);
            }
        }
        table
    }

    pub(super) fn reference(&self, step: &Step, inputs: &[Value<'_>], out: &mut [f32]) {
        let (x, cols) = inputs[0].rows();
        let factors = inputs.get(1).map(|f| f.weight().vector());
        out.copy_from_slice(x);
        for (row, y) in step.rows.iter().zip(out.chunks_exact_mut(cols)) {
            for i in 0..self.0.rotary / 2 {
                let (sin, cos) = self.0.angle(row.position, i, factors.as_deref()).sin_cos();
                let (sin, cos) = (sin as f32, cos as f32);
                let (a, b) = self.0.pair(i);
                for head in y.chunks_exact_mut(self.0.head_dim) {
                    (head[a], head[b]) = (head[a] * cos - head[b] * sin, head[a] * sin + head[b] * cos);
                }
            }
        }
    }
}
