//! `wgsl/{rms_norm,gated_norm,layer_norm}.wgsl`: a workgroup for each row, or for each group of it.

use crate::gpu::link::Slots;
use crate::gpu::plan::dispatch::{Dispatch, Extent};
use crate::gpu::plan::kernels::{output_rows, single};
use crate::gpu::plan::lanes;
use crate::gpu::plan::{Launch, Operand, Planner};
use crate::graph::{Node, Shape};
use crate::ops::{GatedNorm, LayerNorm, RmsNorm};

/// The dispatch of an RMS norm.
pub fn rms_norm(s: &Planner<'_>, node: Node, op: &RmsNorm) -> Launch {
    let (out, inputs) = (s.graph.shape(node), s.inputs(node));
    let mut constants = numbers(s, out, out.cols / op.groups - op.rest, op.eps);
    constants.extend([
        ("REST", op.rest as f64),
        ("GROUPS", op.groups as f64),
        ("WEIGHTED", (inputs.len() == 2) as u32 as f64),
    ]);
    let extent = Extent::PerRow { rows: out.rows, each: op.groups as u32 };
    let operands = [Operand::Step, Operand::Value(inputs[0]), vector(inputs.get(1)), Operand::Value(node)];
    Launch {
        slots: Slots { copy: Some("none"), ..s.slots(None) },
        ..single(s, node, Dispatch { kernel: "rms_norm", constants, extent }, &operands)
    }
}

/// The dispatch of a norm with a gate.
pub fn gated_norm(s: &Planner<'_>, node: Node, op: &GatedNorm) -> Launch {
    let (out, inputs) = (s.graph.shape(node), s.inputs(node));
    let weight = s.graph.shape(inputs[2]);
    let each = out.cols / op.groups;
    let mut constants = numbers(s, out, each, op.eps);
    constants.retain(|(name, _)| *name != "WORKGROUP");
    constants.extend([
        ("WORKGROUP", (s.caps.invocations.min(256) as usize).min(each.next_power_of_two().max(32)) as f64),
        ("GROUPS", op.groups as f64),
        ("WEIGHT_GROUPS", (weight.cols * op.groups / out.cols) as f64),
        ("GATE_FIRST", op.gate_first as u32 as f64),
    ]);
    let extent = Extent::PerRow { rows: out.rows, each: op.groups as u32 };
    let operands = [
        Operand::Step,
        Operand::Value(inputs[0]),
        Operand::Value(inputs[1]),
        Operand::Vector(inputs[2]),
        Operand::Value(node),
    ];
    Launch {
        slots: Slots { copy: Some("none"), ..s.slots(None) },
        ..single(s, node, Dispatch { kernel: "gated_norm", constants, extent }, &operands)
    }
}

/// The dispatch of a layer norm.
pub fn layer_norm(s: &Planner<'_>, node: Node, op: &LayerNorm) -> Launch {
    let (out, inputs) = (s.graph.shape(node), s.inputs(node));
    let mut constants = numbers(s, out, out.cols, op.eps);
    constants.push(("BIAS", (inputs.len() == 3) as u32 as f64));
    let extent = Extent::PerRow { rows: out.rows, each: 1 };
    let operands = [
        Operand::Step,
        Operand::Value(inputs[0]),
        vector(inputs.get(1)),
        vector(inputs.get(2)),
        Operand::Value(node),
    ];
    Launch {
        slots: Slots { copy: Some("none"), ..s.slots(None) },
        ..single(s, node, Dispatch { kernel: "layer_norm", constants, extent }, &operands)
    }
}

fn numbers(s: &Planner<'_>, out: Shape, cols: usize, eps: f32) -> Vec<(&'static str, f64)> {
    // A program computes one subgroup after the other, and changes between them at every barrier.
    let most = if lanes::fits(s) { 64 } else { 256 };
    vec![
        ("COLS", cols as f64),
        ("STRIDE", out.stride() as f64),
        ("EPS", eps as f64),
        ("WORKGROUP", s.caps.invocations.min(most) as f64),
        output_rows(out),
    ]
}

fn vector(weight: Option<&Node>) -> Operand {
    weight.map_or(Operand::Nothing, |&w| Operand::Vector(w))
}
