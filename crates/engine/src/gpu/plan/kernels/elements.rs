//! `wgsl/{add,gate,gate_halves,unary,scale,softcap,select,part}.wgsl`: what is computed number by number, in vectors of four.

use crate::gpu::plan::dispatch::{Dispatch, Extent};
use crate::gpu::plan::kernels::activation;
use crate::gpu::plan::kernels::{operand, output_rows, single};
use crate::gpu::plan::{Launch, Operand, Planner};
use crate::graph::Node;
use crate::ops::{Clamp, Gate, Op, Part, Scale};

/// Vectors of a workgroup.
const TILE: u32 = 64;

/// A dispatch that reads the node's inputs and writes its value, all of one stride.
pub fn launch(s: &Planner<'_>, node: Node, kernel: &'static str, numbers: &[(&'static str, f64)]) -> Launch {
    let out = s.graph.shape(node);
    let mut constants = vec![("STRIDE", out.stride() as f64)];
    if !matches!(s.graph.entry(node).op(), Some((Op::Select(_), _))) {
        constants.push(output_rows(out));
    }
    constants.extend(numbers);
    let extent = Extent::Elements { rows: out.rows, cols: out.stride() as u32 / 4, tile: TILE };
    let mut operands = vec![Operand::Step];
    operands.extend(s.inputs(node).iter().map(|&input| operand(s, input)));
    operands.push(Operand::Value(node));
    single(s, node, Dispatch { kernel, constants, extent }, &operands)
}

/// The dispatch that takes some numbers of each group.
pub fn part(s: &Planner<'_>, node: Node, op: &Part) -> Launch {
    let (x, out) = (s.graph.shape(s.inputs(node)[0]), s.graph.shape(node));
    let constants = vec![
        ("COLS", out.cols as f64),
        ("LEN", op.len as f64),
        ("GROUP", (x.cols / op.groups) as f64),
        ("FIRST", op.first as f64),
        ("STRIDE", x.stride() as f64),
        ("OUT_STRIDE", out.stride() as f64),
        output_rows(out),
    ];
    let extent = Extent::Elements { rows: out.rows, cols: out.cols as u32, tile: TILE };
    let operands = [Operand::Step, operand(s, s.inputs(node)[0]), Operand::Value(node)];
    single(s, node, Dispatch { kernel: "part", constants, extent }, &operands)
}

/// The dispatch of a scale, which may be a number of the file besides.
pub fn scale(s: &Planner<'_>, node: Node, op: &Scale) -> Launch {
    let (out, inputs) = (s.graph.shape(node), s.inputs(node));
    let constants = vec![
        ("STRIDE", out.stride() as f64),
        ("FACTOR", op.factor as f64),
        ("WEIGHTED", (inputs.len() == 2) as u32 as f64),
        output_rows(out),
    ];
    let extent = Extent::Elements { rows: out.rows, cols: out.stride() as u32 / 4, tile: TILE };
    let weight = inputs.get(1).map_or(Operand::Nothing, |&w| Operand::Vector(w));
    let operands = [Operand::Step, Operand::Value(inputs[0]), Operand::Value(node), weight];
    single(s, node, Dispatch { kernel: "scale", constants, extent }, &operands)
}

/// The dispatch of a gate: of gate and up apart, or of stretches of both.
pub fn gate(s: &Planner<'_>, node: Node, op: &Gate) -> Launch {
    let (out, inputs) = (s.graph.shape(node), s.inputs(node));
    let gate = s.graph.shape(inputs[0]);
    let clamp = op.clamp.unwrap_or(Clamp { limit: 0.0, shift: 0.0 });
    let mut numbers = vec![
        ("ACT", activation(op.act)),
        ("GATE_STRIDE", gate.stride() as f64),
        ("CLAMPED", op.clamp.is_some() as u32 as f64),
        ("LIMIT", clamp.limit as f64),
        ("SHIFT", clamp.shift as f64),
    ];
    if inputs.len() == 1 {
        numbers.extend([("COLS", out.cols as f64), ("STRETCH", (out.cols / op.stretches) as f64)]);
        return launch(s, node, "gate_halves", &numbers);
    }
    numbers.push(("GATE_ONE", (gate.cols < out.cols) as u32 as f64));
    launch(s, node, "gate", &numbers)
}
