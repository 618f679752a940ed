//! `wgsl/embed.wgsl`: rows of a table, which may be in parts.

use crate::gpu::plan::dispatch::{Dispatch, Extent};
use crate::gpu::plan::kernels::in_order;
use crate::gpu::plan::{Launch, Operand, Planner, parts};
use crate::graph::Node;
use crate::ops::{Embed, Index};

/// Numbers of a row that a workgroup reads.
const WORKGROUP: u32 = 64;

/// A dispatch for each part of the table; each writes the rows whose entries it holds, times a number, to `value`.
pub fn launches(s: &Planner<'_>, node: Node, op: &Embed, (value, factor): (Node, f32)) -> Vec<Launch> {
    let out = s.graph.shape(node);
    let by = match op.by {
        Index::Token => 0.0,
        Index::Position => 2.0,
    };
    let each = (out.cols as u32).div_ceil(WORKGROUP);
    let mut launches = parts(s, s.inputs(node)[0], node, |held| {
        let constants = vec![
            ("COLS", out.cols as f64),
            ("STRIDE", out.stride() as f64),
            ("FACTOR", factor as f64),
            ("BY", by),
            ("FIRST_ROW", held.first as f64),
            ("ROWS", held.rows as f64),
            ("WORKGROUP", WORKGROUP as f64),
        ];
        let extent = Extent::PerRow { rows: out.rows, each };
        (Dispatch { kernel: "embed", constants, extent }, in_order(&[Operand::Step, Operand::Value(value)]))
    });
    for launch in &mut launches {
        launch.slots.copy = Some("none");
        // Of a table a row of the step reads one row.
        launch.weight.iter_mut().for_each(|w| w.rows = 1);
    }
    launches
}
