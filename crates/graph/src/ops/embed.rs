//! y[r] = table[token of r], or table[position of r] for learned positions

use crate::graph::{Rows, Shape, Step};
use crate::ops::Value;

/// What names a row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Index {
    /// The row's token.
    Token,
    /// The row's position.
    Position,
}

/// Rows of a table `[entries, cols]`, one for each row of the step.
#[derive(Clone, Debug, PartialEq)]
pub struct Embed {
    /// What names a row of the table.
    pub by: Index,
}

impl Embed {
    pub(super) fn bound(&self) -> f64 {
        0.0 // the very same numbers
    }

    pub(super) fn shape(&self, inputs: &[Shape]) -> Shape {
        Shape { rows: Rows::Step, cols: inputs[0].cols }
    }

    pub(super) fn reference(&self, step: &Step, inputs: &[Value<'_>], out: &mut [f32]) {
        let table = inputs[0].weight();
        for (row, y) in step.rows.iter().zip(out.chunks_exact_mut(table.cols)) {
            let entry = match self.by {
                Index::Token => row.token,
                Index::Position => row.position,
            };
            table.decode(entry as usize, y);
        }
    }
}
