//! Which ops have a kernel of the CPU's own; all others are computed by their references.

mod attention;
mod exp;
mod experts;
mod gate;
mod int8;
mod lanes;
mod linear;
mod recurrent;
mod tile;

pub use lanes::Instructions;

use std::ops::Range;
use std::sync::Mutex;

use rayon::prelude::*;

use self::attention::attention;
use self::experts::{expert_linear, group_linear};
use self::gate::gate;
use self::linear::{Scratch, linear};
use self::recurrent::{delta_rule, ssd};
use crate::Precision;
use crate::graph::Step;
use crate::ops::{Gate, Op, Value};

/// Rows that are worth a task of their own where each is computed by itself.
const ROWS: usize = 4;

/// The CPU's kernels, for one set of instructions.
pub struct Kernels {
    instructions: Instructions,
    precision: Precision,
    scratch: Mutex<Scratch>,
}

impl Kernels {
    /// Kernels for `instructions`, which the machine must have. In [`Precision::Fast`], products are in int8 where the
    /// instructions and the weight's format have such.
    pub fn new(instructions: Instructions, precision: Precision) -> Kernels {
        Kernels { instructions, precision, scratch: Mutex::default() }
    }

    /// Whether any product is in int8.
    pub fn int8(&self) -> bool {
        self.precision == Precision::Fast && int8::has_few(self.instructions)
    }

    /// Computes a node: `out` has the result's shape, row-major. Panics like the op's reference.
    pub fn compute(&self, op: &Op, step: &Step, inputs: &[Value<'_>], out: &mut [f32]) {
        let with = self.instructions;
        match op {
            Op::Linear(_) => {
                let (x, w) = (inputs[0].rows().0, inputs[1].weight());
                let bias = inputs.get(2).map(|b| b.weight().vector());
                let mut scratch = self.scratch.lock().unwrap_or_else(|e| e.into_inner());
                linear(with, self.precision, &mut scratch, w, bias.as_deref(), x, out);
            }
            Op::Attend(attend) => {
                let (keys, values) = (inputs[1].cache(), inputs[2].cache());
                let sinks = inputs.get(3).map_or(Vec::new(), |sinks| sinks.weight().vector());
                attention(with, &attend.0, &sinks, &step.rows, inputs[0].rows().0, keys, values, out);
            }
            Op::DeltaRule(op) => delta_rule(with, op, step, inputs, out),
            Op::Ssd(op) => ssd(with, op, step, inputs, out),
            Op::ExpertLinear(op) => expert_linear(op, inputs, out),
            Op::GroupLinear(op) => group_linear(op, inputs, out),
            // A gate of one number a row is little work.
            Op::Gate(op) if inputs.len() == 2 && inputs[0].rows().1 == inputs[1].rows().1 => {
                gate(with, *op, inputs[0].rows().0, Some(inputs[1].rows().0), out)
            }
            Op::Unary(op) => gate(with, Gate::of(op.act), inputs[0].rows().0, None, out),
            Op::RmsNorm(_) | Op::GatedNorm(_) | Op::LayerNorm(_) | Op::Rope(_) | Op::Add(_) => {
                by_rows(op, step, inputs, out)
            }
            _ => op.reference(step, inputs, out),
        }
    }
}

/// The reference of an op whose rows do not depend on each other, for some of the rows on each thread.
fn by_rows(op: &Op, step: &Step, inputs: &[Value<'_>], out: &mut [f32]) {
    let (x, cols) = inputs[0].rows();
    if x.len() < 2 * ROWS * cols {
        return op.reference(step, inputs, out);
    }
    out.par_chunks_mut(ROWS * cols).enumerate().for_each(|(at, out)| {
        let rows = at * ROWS..at * ROWS + out.len() / cols;
        let inputs: Vec<Value<'_>> = inputs.iter().map(|input| part(*input, &rows)).collect();
        // Behind the choice of output rows there are fewer than the step has, and no op asks which.
        let rows = step.rows.get(rows.clone()).map(|rows| rows.to_vec()).unwrap_or_default();
        op.reference(&Step { rows, outputs: Vec::new() }, &inputs, out);
    });
}

/// Some of the rows of an activation; weights are as they are.
fn part<'a>(input: Value<'a>, rows: &Range<usize>) -> Value<'a> {
    match input {
        Value::Rows { data, cols } => Value::Rows { data: &data[rows.start * cols..rows.end * cols], cols },
        other => other,
    }
}
