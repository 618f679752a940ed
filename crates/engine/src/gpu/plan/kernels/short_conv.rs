//! `wgsl/short_conv.wgsl`: an invocation for each number; whoever begins a slot's rows reads and writes its state.

use crate::gpu::plan::dispatch::{Dispatch, Extent};
use crate::gpu::plan::kernels::{activation, single};
use crate::gpu::plan::{Launch, Operand, Planner};
use crate::graph::Node;
use crate::ops::ShortConv;

/// Numbers of a workgroup.
const TILE: u32 = 64;

/// The dispatch of a convolution.
pub fn launch(s: &Planner<'_>, node: Node, op: &ShortConv) -> Launch {
    let (out, inputs) = (s.graph.shape(node), s.inputs(node));
    let constants = vec![
        ("CHANNELS", out.cols as f64),
        ("TAPS", op.taps as f64),
        ("STRIDE", s.graph.shape(inputs[0]).stride() as f64),
        ("OUT_STRIDE", out.stride() as f64),
        ("GATED", op.gated as u32 as f64),
        ("ACTIVE", op.act.is_some() as u32 as f64),
        ("ACT", op.act.map_or(0.0, activation)),
        ("BIAS", (inputs.len() == 4) as u32 as f64),
    ];
    let bias = if inputs.len() == 4 { Operand::Vector(inputs[2]) } else { Operand::Nothing };
    let operands = [
        Operand::Step,
        Operand::Value(inputs[0]),
        Operand::Vector(inputs[1]),
        bias,
        Operand::State(inputs[inputs.len() - 1]),
        Operand::Value(node),
    ];
    let extent = Extent::Elements { rows: out.rows, cols: out.cols as u32, tile: TILE };
    single(s, node, Dispatch { kernel: "short_conv", constants, extent }, &operands)
}
