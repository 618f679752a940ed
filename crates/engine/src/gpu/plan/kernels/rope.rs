//! `wgsl/rope.wgsl`: an invocation for each pair, angles from the op's table.

use crate::gpu::plan::dispatch::{Dispatch, Extent};
use crate::gpu::plan::kernels::single;
use crate::gpu::plan::{Launch, Operand, Planner};
use crate::graph::Node;
use crate::ops::{Pairing, Rope};

/// Pairs of a workgroup.
const TILE: u32 = 64;

/// The dispatch of rotary positions. What divides the frequencies is in the table.
pub fn launch(s: &Planner<'_>, node: Node, op: &Rope) -> Launch {
    let (shape, out) = (&op.0, s.graph.shape(node));
    let pair_step = match shape.pairing {
        Pairing::Neighbours => 1,
        Pairing::Halves => shape.rotary / 2,
    };
    let constants = vec![
        ("COLS", out.cols as f64),
        ("STRIDE", out.stride() as f64),
        ("HEAD_DIM", shape.head_dim as f64),
        ("FIRST", shape.first as f64),
        ("ROTARY", shape.rotary as f64),
        ("PAIR_STEP", pair_step as f64),
    ];
    let extent = Extent::Elements { rows: out.rows, cols: out.cols as u32 / 2, tile: TILE };
    let dispatch = Dispatch { kernel: "rope", constants, extent };
    let x = s.inputs(node)[0];
    single(s, node, dispatch, &[Operand::Step, Operand::Value(x), Operand::Table(node), Operand::Value(node)])
}
