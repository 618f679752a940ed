//! cache[slot of r, position of r] = x[r]

use crate::graph::{Shape, Step};
use crate::ops::{Dispatch, Extent, Op, Value, must};

/// Writes rows into a cache, in the cache's own precision. The result is what was written; the backend keeps it in the cache.
#[derive(Debug)]
pub struct Store;

impl Op for Store {
    fn name(&self) -> &'static str {
        "store"
    }

    /// An f16 cache rounds by at most 2⁻¹¹ of each number: an NMSE of 2⁻²² at most, a third of that on the average.
    fn bound(&self) -> f64 {
        2.4e-7
    }

    fn shape(&self, inputs: &[Shape]) -> Shape {
        must("store", inputs[0].cols == inputs[1].cols, "the rows are not as wide as the cache");
        must("store", inputs[0].cols.is_multiple_of(4), "a cache is written in vectors of four");
        inputs[0]
    }

    fn constants(&self, inputs: &[Shape]) -> Vec<(&'static str, f64)> {
        vec![("COLS", inputs[0].cols as f64), ("STRIDE", inputs[0].stride() as f64)]
    }

    fn reference(&self, _: &Step, inputs: &[Value<'_>], out: &mut [f32]) {
        out.copy_from_slice(inputs[0].rows().0);
    }

    /// Has no result to bind: the second input, the cache, is what it writes.
    fn dispatch(&self, inputs: &[Shape], out: Shape) -> Dispatch {
        let extent = Extent::Elements { rows: out.rows, cols: out.cols as u32 / 4, tile: 64 };
        Dispatch { kernel: "store", constants: self.constants(inputs), extent }
    }
}
