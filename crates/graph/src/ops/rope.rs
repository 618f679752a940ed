//! (y₁, y₂) = m · (x₁·cos θ − x₂·sin θ, x₁·sin θ + x₂·cos θ), θ = position · scale · base^(−2i/rotary) / factor[i]
//!
//! for the i-th pair of the `rotary` numbers of each head from `first` on; all others stay as they are.      Su et al. 2021, arXiv 2104.09864
//! Under YaRN the frequencies of fast pairs are not scaled, and those between blend.      Peng et al. 2023, arXiv 2309.00071

use rayon::prelude::*;

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
    /// The first of its numbers that turns.
    pub first: usize,
    /// How many of them turn.
    pub rotary: usize,
    /// Base of the frequencies.
    pub base: f32,
    /// Factor of the positions: 1 / the scaling factor of linear scaling.
    pub scale: f32,
    /// Which numbers turn together.
    pub pairing: Pairing,
    /// Factor of cosine and sine.
    pub magnitude: f32,
    /// Which frequencies are spared the scale, if not all take it.
    pub yarn: Option<Yarn>,
}

/// YaRN: a pair that turns more than `fast` times within the original context keeps its frequency, one that turns fewer than
/// `slow` times takes the scale, and those between are blended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Yarn {
    /// Positions that the model was first trained for.
    pub original: u32,
    /// Turns from which on the frequency is kept: 32 as published.
    pub fast: f32,
    /// Turns below which all of the scale is taken: 1 as published.
    pub slow: f32,
}

impl Yarn {
    /// The share of the unscaled frequency in that of a pair.
    fn kept(&self, pair: usize, shape: &RopeShape) -> f64 {
        let rotary = shape.rotary as f64;
        let pair_of = |turns: f32| {
            let around = self.original as f64 / (turns as f64 * std::f64::consts::TAU);
            rotary * around.ln() / (2.0 * (shape.base as f64).ln())
        };
        // Whole pairs, rounded outwards.
        let low = pair_of(self.fast).floor().max(0.0);
        let high = pair_of(self.slow).ceil().min(rotary - 1.0);
        1.0 - ((pair as f64 - low) / (high - low).max(0.001)).clamp(0.0, 1.0)
    }
}

impl RopeShape {
    /// Rotary positions of whole heads, unscaled.
    pub fn new(head_dim: usize, base: f32, pairing: Pairing) -> RopeShape {
        RopeShape {
            head_dim,
            first: 0,
            rotary: head_dim,
            base,
            scale: 1.0,
            pairing,
            magnitude: 1.0,
            yarn: None,
        }
    }

    /// The angle of a pair at a position.
    fn angle(&self, position: u32, pair: usize, factors: Option<&[f32]>) -> f64 {
        let frequency = (self.base as f64).powf(-2.0 * pair as f64 / self.rotary as f64);
        let kept = self.yarn.map_or(0.0, |yarn| yarn.kept(pair, self));
        let scale = kept + (1.0 - kept) * self.scale as f64;
        position as f64 * scale * frequency / factors.map_or(1.0, |f| f[pair] as f64)
    }

    /// Cosine and sine of a pair's angle at a position, times the magnitude.
    fn turn(&self, position: u32, pair: usize, factors: Option<&[f32]>) -> [f32; 2] {
        let (sin, cos) = self.angle(position, pair, factors).sin_cos();
        [cos, sin].map(|v| (v * self.magnitude as f64) as f32)
    }

    /// The two numbers of pair `i`, counted from the start of a head.
    fn pair(&self, i: usize) -> (usize, usize) {
        match self.pairing {
            Pairing::Neighbours => (self.first + 2 * i, self.first + 2 * i + 1),
            Pairing::Halves => (self.first + i, self.first + i + self.rotary / 2),
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
            s.rotary.is_multiple_of(2) && s.first.is_multiple_of(2) && s.first + s.rotary <= s.head_dim,
            "the rotary part is odd or reaches beyond a head",
        );
        must("rope", inputs.get(1).is_none_or(|f| f.cols == s.rotary / 2), "not one factor for each pair");
        inputs[0]
    }

    /// `[context][rotary / 2]` pairs of cosine and sine, for frequencies divided by `factors`: they depend on the position
    /// alone, and a GPU's sine is not exact far from zero.
    pub fn table(&self, context: usize, factors: Option<&[f32]>) -> Vec<f32> {
        let mut table = vec![0.0; context * self.0.rotary];
        // A model of 131,072 positions has eight million angles.
        table.par_chunks_mut(self.0.rotary.max(1)).enumerate().for_each(|(position, row)| {
            for (i, pair) in row.chunks_exact_mut(2).enumerate() {
                pair.copy_from_slice(&self.0.turn(position as u32, i, factors));
            }
        });
        table
    }

    pub(super) fn reference(&self, step: &Step, inputs: &[Value<'_>], out: &mut [f32]) {
        let (x, cols) = inputs[0].rows();
        let factors = inputs.get(1).map(|f| f.weight().vector());
        out.copy_from_slice(x);
        for (row, y) in step.rows.iter().zip(out.chunks_exact_mut(cols)) {
            for i in 0..self.0.rotary / 2 {
                let [cos, sin] = self.0.turn(row.position, i, factors.as_deref());
                let (a, b) = self.0.pair(i);
                for head in y.chunks_exact_mut(self.0.head_dim) {
                    (head[a], head[b]) = (head[a] * cos - head[b] * sin, head[a] * sin + head[b] * cos);
                }
            }
        }
    }
}
