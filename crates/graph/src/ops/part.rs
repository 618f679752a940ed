//! y[r, g, c] = x[r, g, first + c]
//!
//! A row is `groups` stretches of equal length: heads that hold more than one thing, or the whole row as one.

use crate::graph::{Shape, Step};
use crate::ops::{Value, must};

/// Some numbers of each group of a row.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// Stretches of a row.
    pub groups: usize,
    /// The first number of each that is taken.
    pub first: usize,
    /// How many are.
    pub len: usize,
}

impl Part {
    pub(super) fn bound(&self) -> f64 {
        0.0
    }

    pub(super) fn shape(&self, inputs: &[Shape]) -> Shape {
        let each = inputs[0].cols / self.groups;
        must("part", inputs[0].cols.is_multiple_of(self.groups), "a row is not whole groups");
        must("part", self.first + self.len <= each, "a part goes beyond its group");
        Shape { cols: self.groups * self.len, ..inputs[0] }
    }

    pub(super) fn reference(&self, _: &Step, inputs: &[Value<'_>], out: &mut [f32]) {
        let (x, cols) = inputs[0].rows();
        for (x, y) in x.chunks_exact(cols / self.groups).zip(out.chunks_exact_mut(self.len)) {
            y.copy_from_slice(&x[self.first..][..self.len]);
        }
    }
}
