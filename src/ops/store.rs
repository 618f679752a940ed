//! cache[slot of r, position of r] = x[r]

use crate::graph::{Shape, Step};
use crate::ops::{Value, must};

/// Writes rows into a cache, in the cache's own precision. The result is what was written; the backend keeps it in the cache.
#[derive(Clone, Debug, PartialEq)]
pub struct Store;

impl Store {
    /// An f16 cache rounds by at most 2⁻¹¹ of each number: an NMSE of 2⁻²² at most, a third of that on the average.
    pub(super) fn bound(&self) -> f64 {
        2.4e-7
    }

    pub(super) fn shape(&self, inputs: &[Shape]) -> Shape {
        must("store", inputs[0].cols == inputs[1].cols, "the rows are not as wide as the cache");
        must("store", inputs[0].cols.is_multiple_of(4), "a cache is written in vectors of four");
        inputs[0]
    }

    pub(super) fn reference(&self, _: &Step, inputs: &[Value<'_>], out: &mut [f32]) {
        out.copy_from_slice(inputs[0].rows().0);
    }
}
