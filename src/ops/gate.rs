//! y[r, c] = act(gate[r, c]) · up[r, c]      Shazeer 2020, arXiv 2002.05202

use rayon::prelude::*;

use crate::graph::{Shape, Step};
use crate::ops::{Activation, Dispatch, Extent, Op, Value, must};

/// A gated feed-forward's middle.
#[derive(Debug)]
pub struct Gate {
    /// The gate's activation function.
    pub act: Activation,
}

impl Op for Gate {
    fn name(&self) -> &'static str {
        "gate"
    }

    fn bound(&self) -> f64 {
        1e-7
    }

    fn shape(&self, inputs: &[Shape]) -> Shape {
        must("gate", inputs[0] == inputs[1], "gate and up differ in shape");
        inputs[0]
    }

    fn constants(&self, inputs: &[Shape]) -> Vec<(&'static str, f64)> {
        vec![("STRIDE", inputs[0].stride() as f64), ("ACT", self.act as u32 as f64)]
    }

    fn reference(&self, _: &Step, inputs: &[Value<'_>], out: &mut [f32]) {
        let (gate, up) = (inputs[0].rows().0, inputs[1].rows().0);
        let all = out.par_iter_mut().with_min_len(1024).zip(gate).zip(up);
        all.for_each(|((y, &g), &u)| *y = self.act.of(g) * u);
    }

    fn dispatch(&self, inputs: &[Shape], out: Shape) -> Dispatch {
        let extent = Extent::Elements { rows: out.rows, cols: out.stride() as u32 / 4, tile: 64 };
        Dispatch { kernel: "gate", constants: self.constants(inputs), extent }
    }
}
