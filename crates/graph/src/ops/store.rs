//! cache[slot of r, position of r] = x[r], rounded as the cache's format does

use crate::graph::{Shape, Step};
use crate::ops::{Value, must};

/// Writes rows into a cache, in the cache's own format. The result is what was written; the backend keeps it in the cache.
#[derive(Clone, Debug, PartialEq)]
pub struct Store;

impl Store {
    /// Of the number before it is rounded; `check` adds what rounding makes of it.
    pub(super) fn bound(&self) -> f64 {
        1e-7
    }

    pub(super) fn shape(&self, inputs: &[Shape]) -> Shape {
        must("store", inputs[0].cols == inputs[1].cols, "the rows are not as wide as the cache");
        must("store", inputs[0].cols.is_multiple_of(4), "a cache is written in vectors of four");
        inputs[0]
    }

    pub(super) fn reference(&self, _: &Step, inputs: &[Value<'_>], out: &mut [f32]) {
        let (x, cache) = (inputs[0].rows().0, inputs[1].cache());
        for (head, out) in x.chunks_exact(cache.head_dim).zip(out.chunks_exact_mut(cache.head_dim)) {
            cache.format.round(head, out);
        }
    }
}
