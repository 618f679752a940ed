//! `wgsl/{rms_norm,layer_norm}.wgsl`: a workgroup for each row.

use crate::gpu::plan::dispatch::{Dispatch, Extent};
use crate::gpu::plan::kernels::{operand, single};
use crate::gpu::plan::{Launch, Operand, Planner};
use crate::graph::Node;
use crate::ops::{LayerNorm, RmsNorm};

/// The dispatch of an RMS norm.
pub fn rms_norm(s: &Planner<'_>, node: Node, op: &RmsNorm) -> Launch {
    launch(s, node, "rms_norm", op.eps)
}

/// The dispatch of a layer norm.
pub fn layer_norm(s: &Planner<'_>, node: Node, op: &LayerNorm) -> Launch {
    launch(s, node, "layer_norm", op.eps)
}

fn launch(s: &Planner<'_>, node: Node, kernel: &'static str, eps: f32) -> Launch {
    let out = s.graph.shape(node);
    let constants = vec![
        ("COLS", out.cols as f64),
        ("STRIDE", out.stride() as f64),
        ("EPS", eps as f64),
        ("WORKGROUP", s.caps.invocations.min(256) as f64),
    ];
    let mut operands = vec![Operand::Step];
    operands.extend(s.inputs(node).iter().map(|&input| operand(s, input)));
    operands.push(Operand::Value(node));
    let extent = Extent::PerRow { rows: out.rows, each: 1 };
    let mut launch = single(s, node, Dispatch { kernel, constants, extent }, &operands);
    launch.slots.copy = Some("none");
    launch
}
