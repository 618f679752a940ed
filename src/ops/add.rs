//! y[r, c] = a[r, c] + b[r, c]

use crate::graph::{Shape, Step};
use crate::ops::{Dispatch, Extent, Op, Value, must};

/// The sum of two activations.
#[derive(Debug)]
pub struct Add;

impl Op for Add {
    fn name(&self) -> &'static str {
        "add"
    }

    fn bound(&self) -> f64 {
        1e-7
    }

    fn shape(&self, inputs: &[Shape]) -> Shape {
        must("add", inputs[0] == inputs[1], "the summands differ in shape");
        inputs[0]
    }

    fn constants(&self, inputs: &[Shape]) -> Vec<(&'static str, f64)> {
        vec![("STRIDE", inputs[0].stride() as f64)]
    }

    fn reference(&self, _: &Step, inputs: &[Value<'_>], out: &mut [f32]) {
        let (a, b) = (inputs[0].rows().0, inputs[1].rows().0);
        for ((y, &a), &b) in out.iter_mut().zip(a).zip(b) {
            *y = a + b;
        }
    }

    fn dispatch(&self, inputs: &[Shape], out: Shape) -> Dispatch {
        let extent = Extent::Elements { rows: out.rows, cols: out.stride() as u32 / 4, tile: 64 };
        Dispatch { kernel: "add", constants: self.constants(inputs), extent }
    }
}
