//! y[i] = x[outputs[i]]

use crate::graph::{Rows, Shape, Step};
use crate::ops::{Dispatch, Extent, Op, Value};

/// The rows whose logits are asked for.
#[derive(Debug)]
pub struct Select;

impl Op for Select {
    fn name(&self) -> &'static str {
        "select"
    }

    fn bound(&self) -> f64 {
        0.0 // the very same numbers
    }

    fn shape(&self, inputs: &[Shape]) -> Shape {
        Shape { rows: Rows::Outputs, cols: inputs[0].cols }
    }

    fn constants(&self, inputs: &[Shape]) -> Vec<(&'static str, f64)> {
        vec![("STRIDE", inputs[0].stride() as f64)]
    }

    fn reference(&self, step: &Step, inputs: &[Value<'_>], out: &mut [f32]) {
        let cols = inputs[0].rows().1;
        for (&row, y) in step.outputs.iter().zip(out.chunks_exact_mut(cols)) {
            y.copy_from_slice(inputs[0].row(row as usize));
        }
    }

    fn dispatch(&self, inputs: &[Shape], out: Shape) -> Dispatch {
        let extent = Extent::Elements { rows: out.rows, cols: out.stride() as u32 / 4, tile: 64 };
        Dispatch { kernel: "select", constants: self.constants(inputs), extent }
    }
}
