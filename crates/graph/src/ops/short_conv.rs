//! y[r, c] = act(Σ over i < taps of w[c, i] · x[p − taps + 1 + i, c]  (+ b[c])), p the position of row r, x what the slot of r has had
//! as inputs at its positions: zeros before the first.      Waibel et al. 1989; as in Gu & Dao 2023, arXiv 2312.00752
//!
//! Gated, a row is [b | g | u], three parts of as many numbers as there are channels: x = b · u, and y is multiplied by g.      LFM2

use crate::graph::{Shape, Step};
use crate::memory::MemoryKind;
use crate::ops::{Activation, Value, must};

/// A causal convolution of each channel over the positions of a slot. Inputs are rows, the weight `[channels, taps]` as one row, a bias
/// where there is one, and the state, which is left as it is behind the last row.
#[derive(Clone, Debug, PartialEq)]
pub struct ShortConv {
    /// Positions that an output is made of, its own included.
    pub taps: usize,
    /// What becomes of the sums.
    pub act: Option<Activation>,
    /// Whether a row is an input in two factors and a gate for the output.
    pub gated: bool,
}

impl ShortConv {
    pub(super) fn bound(&self) -> f64 {
        1e-7
    }

    /// The channels of rows of `cols` numbers.
    pub fn channels(&self, cols: usize) -> usize {
        if self.gated { cols / 3 } else { cols }
    }

    /// What is kept of each slot.
    pub fn memory(&self, cols: usize) -> MemoryKind {
        MemoryKind::Convolution { taps: self.taps, channels: self.channels(cols) }
    }

    pub(super) fn shape(&self, inputs: &[Shape]) -> Shape {
        let (x, w, state) = (inputs[0], inputs[1], inputs[inputs.len() - 1]);
        let channels = self.channels(x.cols);
        must("short_conv", self.taps > 1, "a convolution of one position keeps nothing");
        must("short_conv", !self.gated || x.cols == 3 * channels, "a row is not three equal parts");
        must("short_conv", w.cols == channels * self.taps, "not as many weights as channels × taps");
        must("short_conv", inputs.len() == 3 || inputs[2].cols == channels, "not one bias for each channel");
        must("short_conv", state.cols == self.memory(x.cols).numbers(0), "the state is of another size");
        Shape { cols: channels, ..x }
    }

    pub(super) fn reference(&self, step: &Step, inputs: &[Value<'_>], out: &mut [f32]) {
        let (x, cols) = inputs[0].rows();
        let channels = self.channels(cols);
        let w = inputs[1].weight().vector();
        let bias = (inputs.len() == 4).then(|| inputs[2].weight().vector());
        let kept = self.taps - 1;
        let states = inputs[inputs.len() - 1].states();
        let mut all = states.lock();
        for (r, row) in step.rows.iter().enumerate() {
            let state = &mut all[row.slot as usize * kept * channels..][..kept * channels];
            let position = row.position as usize;
            for c in 0..channels {
                let part = |n: usize| x[r * cols + n * channels + c];
                let input = if self.gated { part(0) * part(2) } else { part(0) };
                let mut sum = bias.as_ref().map_or(0.0, |b| b[c] as f64);
                for (i, &w) in w[c * self.taps..][..self.taps].iter().enumerate() {
                    let back = kept - i;
                    let input = match back {
                        0 => input,
                        _ if back > position => 0.0,
                        _ => state[(position - back) % kept * channels + c],
                    };
                    sum += w as f64 * input as f64;
                }
                state[position % kept * channels + c] = input;
                let y = self.act.map_or(sum as f32, |act| act.of(sum as f32));
                out[r * channels + c] = if self.gated { part(1) * y } else { y };
            }
        }
    }
}
