//! Attention of many rows on matrix units: how rows and heads are put together to lines of a tile.

use crate::backend::Precision;
use crate::gpu::caps::Matrix;
use crate::gpu::link::Slots;
use crate::gpu::memory::kv_layout;
use crate::gpu::plan::dispatch::{Dispatch, Extent, RowRange};
use crate::gpu::plan::{Arithmetic, Launch, Operand, Planner};
use crate::graph::{Node, Rows};
use crate::memory::PAGE;
use crate::ops::Op;

/// Lines of a tile: a subgroup has 16 of them.
const LINES: usize = 64;
/// The longest head: its sums stay in registers.
const LONGEST: usize = 256;
/// Heads of a line's row at most.
const SHARE: usize = 16;

/// Whether an attention is computed on matrix units.
pub fn fits(s: &Planner<'_>, node: Node) -> bool {
    let Some((Op::Attend(op), inputs)) = s.graph.entry(node).op() else { return false };
    let head_dim = op.0.head_dim;
    // Sinks, chunks and scores that grow are for the plain kernel.
    if inputs.len() > 3 || op.0.chunk > 0 || op.0.temperature.is_some() {
        return false;
    }
    // What was kept in f32 is not to be rounded. A line's scores are two lanes': the kernel is written for subgroups of 32 and matrices of 16.
    let units = match s.caps.matrix {
        Some(Matrix::Sixteen) => s.caps.subgroup_size == 32,
        Some(Matrix::Emulated) => true,
        _ => false,
    };
    units
        && s.precision == Precision::Fast
        && [s.kv.keys, s.kv.values].iter().all(|format| format.name != "f32")
        && head_dim.is_multiple_of(16)
        && head_dim <= LONGEST
        && bytes(head_dim) <= s.caps.workgroup_bytes as usize
}

/// Bytes of workgroup memory: keys and values of a page in f16, weights in f16, scores, and some numbers of a line.
fn bytes(head_dim: usize) -> usize {
    2 * PAGE * (head_dim + 8) * 2 + LINES * (PAGE + 8) * 2 + LINES * (PAGE + 4) * 4 + 4 * 4 * LINES + 2048
}

/// The launch of an attention that fits.
pub fn launch(s: &Planner<'_>, node: Node) -> Launch {
    let g = s.graph;
    let Some((Op::Attend(op), ins)) = g.entry(node).op() else { panic!("attention is an attend") };
    let shape = &op.0;
    let ratio = shape.heads / shape.kv_heads;
    let share = (1..=ratio.min(SHARE)).rev().find(|n| ratio.is_multiple_of(*n)).unwrap_or(1);
    let rows = LINES / share;
    let mut constants = vec![
        ("HEADS", shape.heads as f64),
        ("KV_HEADS", shape.kv_heads as f64),
        ("STRIDE", g.shape(node).stride() as f64),
        ("FOURS", shape.head_dim as f64 / 4.0),
        ("SCALE", shape.scale as f64),
        ("WINDOW", shape.window as f64),
        ("SOFTCAP", shape.softcap as f64),
        ("SHARE", share as f64),
        ("ROWS", rows as f64),
    ];
    constants.extend(kv_layout::constants(g, s.kv, ins[1]));
    let emulated = s.caps.matrix == Some(Matrix::Emulated);
    if !emulated {
        constants.extend(s.caps.subgroup_constant());
    }
    let each = (shape.heads / share) as u32;
    let extent = Extent::RowTiles { rows: Rows::Step, tile: rows as u32, each, within: RowRange::ALL };
    Launch {
        nodes: vec![node],
        dispatch: Dispatch { kernel: "attend_matrix", constants, extent },
        operands: vec![
            (0, Operand::Step),
            (1, Operand::Value(ins[0])),
            (2, Operand::Value(node)),
            (4, Operand::Cache(ins[1])),
            (5, Operand::Cache(ins[2])),
            (8, Operand::Pages),
        ],
        weight: None,
        slots: Slots {
            matrix: s.caps.matrix.map(Matrix::stem),
            subgroups: s.caps.subgroups && !emulated,
            ..s.slots(None)
        },
        arithmetic: Arithmetic::F16,
    }
}
