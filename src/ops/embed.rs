//! y[r] = table[token of r], or table[position of r] for learned positions

use crate::graph::{Rows, Shape, Step};
use crate::ops::{Dispatch, Extent, Op, Value};

/// Numbers of a row that a workgroup reads.
const WORKGROUP: u32 = 64;

/// What names a row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Index {
    /// The row's token.
    Token,
    /// The row's position.
    Position,
}

/// Rows of a table `[entries, cols]`, one for each row of the step.
#[derive(Debug)]
pub struct Embed {
    /// What names a row of the table.
    pub by: Index,
}

impl Op for Embed {
    fn name(&self) -> &'static str {
        "embed"
    }

    fn matrix_input(&self) -> Option<usize> {
        Some(0)
    }

    fn bound(&self) -> f64 {
        0.0 // the very same numbers
    }

    fn shape(&self, inputs: &[Shape]) -> Shape {
        Shape { rows: Rows::Step, cols: inputs[0].cols }
    }

    fn constants(&self, inputs: &[Shape]) -> Vec<(&'static str, f64)> {
        let by = match self.by {
            Index::Token => 0.0,
            Index::Position => 2.0,
        };
        vec![("COLS", inputs[0].cols as f64), ("BY", by)]
    }

    fn reference(&self, step: &Step, inputs: &[Value<'_>], out: &mut [f32]) {
        let table = inputs[0].weight();
        for (row, y) in step.rows.iter().zip(out.chunks_exact_mut(table.cols)) {
            let entry = match self.by {
                Index::Token => row.token,
                Index::Position => row.position,
            };
            table.decode(entry as usize, y);
        }
    }

    fn dispatch(&self, inputs: &[Shape], out: Shape) -> Dispatch {
        let mut constants = self.constants(inputs);
        constants.push(("STRIDE", out.stride() as f64));
        let each = (out.cols as u32).div_ceil(WORKGROUP);
        constants.push(("WORKGROUP", WORKGROUP as f64));
        Dispatch { kernel: "embed", constants, extent: Extent::PerRow { rows: out.rows, each } }
    }
}
