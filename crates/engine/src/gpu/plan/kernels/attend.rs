//! `wgsl/attend.wgsl`: attention of any rows, a workgroup for each row and head; `wgsl/attend_lanes.wgsl`: of many, two rows of a head to a lane.

use crate::gpu::memory::kv_layout;
use crate::gpu::plan::attention::{score_scale, seen};
use crate::gpu::plan::dispatch::{Dispatch, Extent, RowRange};
use crate::gpu::plan::kernels::{operand, single};
use crate::gpu::plan::lanes::{self, ATTEND_ROWS, LONGEST};
use crate::gpu::plan::{Launch, Operand, Planner};
use crate::graph::Node;
use crate::ops::Attend;

/// Positions that a workgroup looks at side by side.
const WORKGROUP: u32 = 64;

/// The dispatch of attention.
pub fn launch(s: &Planner<'_>, node: Node, op: &Attend) -> Launch {
    let (shape, out) = (&op.0, s.graph.shape(node));
    let inputs = s.inputs(node);
    let mut constants = vec![
        ("STRIDE", out.stride() as f64),
        ("HEADS", shape.heads as f64),
        ("KV_HEADS", shape.kv_heads as f64),
        ("FOURS", shape.head_dim as f64 / 4.0),
        ("SOFTCAP", shape.softcap as f64),
        ("SINKS", (inputs.len() == 4) as u32 as f64),
    ];
    constants.extend(seen(shape));
    constants.extend(score_scale(shape));
    constants.extend(kv_layout::constants(s.graph, s.kv, inputs[1]));
    let (mut kernel, each) = ("attend", shape.heads as u32);
    let mut extent = Extent::PerRow { rows: out.rows, each };
    if lanes::fits(s) && shape.head_dim <= LONGEST {
        kernel = "attend_lanes";
        constants.extend(lanes::constants(s.caps));
        let tile = ATTEND_ROWS * s.caps.subgroup_size;
        extent = Extent::RowTiles { rows: out.rows, tile, each, within: RowRange::ALL };
    } else {
        constants.push(("WORKGROUP", WORKGROUP as f64));
    }
    let sinks = inputs.get(3).map_or(Operand::Nothing, |&sinks| Operand::Vector(sinks));
    let operands = [Operand::Step, operand(s, inputs[0]), Operand::Value(node), sinks];
    let mut launch = single(s, node, Dispatch { kernel, constants, extent }, &operands);
    let (keys, values) = (operand(s, inputs[1]), operand(s, inputs[2]));
    launch.operands.extend([(4, keys), (5, values), (8, Operand::Pages)]);
    launch
}
