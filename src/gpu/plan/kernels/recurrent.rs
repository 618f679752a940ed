//! `wgsl/recurrent.wgsl`: workgroups for some columns of a head's state, which stays in registers while they go along a slot's rows.

use crate::gpu::plan::dispatch::{Dispatch, Extent};
use crate::gpu::plan::kernels::single;
use crate::gpu::plan::{Launch, Operand, Planner};
use crate::graph::Node;
use crate::ops::{DeltaRule, Ssd};

/// Invocations of a workgroup.
const WORKGROUP: usize = 64;
/// Numbers of a column that an invocation keeps: the kernel's arrays.
const SLICE: usize = 16;

/// What the two rules have in common: heads of `rows` columns of `cols` numbers, in a row of x where the rule says.
struct Layout {
    heads: usize,
    groups: usize,
    rows: usize,
    cols: usize,
    /// Where what asks, what is written under and what is written begin.
    at: [usize; 3],
}

/// The dispatch of the delta rule.
pub fn delta_rule(s: &Planner<'_>, node: Node, op: &DeltaRule) -> Launch {
    let inputs = s.inputs(node);
    let keys = op.k_heads * op.width;
    let layout = Layout {
        heads: op.v_heads,
        groups: op.k_heads,
        rows: op.width,
        cols: op.width,
        at: [0, keys, 2 * keys],
    };
    let numbers =
        [("DELTA", 1.0), ("EPS", op.eps as f64), ("B_STRIDE", s.graph.shape(inputs[2]).stride() as f64)];
    let operands = [Operand::Value(inputs[2]), Operand::Nothing];
    launch(s, node, &layout, &numbers, [inputs[1], inputs[3], inputs[4]], operands)
}

/// The dispatch of Mamba-2's recurrence.
pub fn ssd(s: &Planner<'_>, node: Node, op: &Ssd) -> Launch {
    let inputs = s.inputs(node);
    let (inner, keys) = (op.heads * op.width, op.groups * op.state);
    let layout = Layout {
        heads: op.heads,
        groups: op.groups,
        rows: op.width,
        cols: op.state,
        at: [inner + keys, inner, 0],
    };
    let numbers = [("DELTA", 0.0), ("EPS", 0.0), ("B_STRIDE", 0.0)];
    let operands = [Operand::Nothing, Operand::Vector(inputs[4])];
    launch(s, node, &layout, &numbers, [inputs[1], inputs[2], inputs[3]], operands)
}

fn launch(
    s: &Planner<'_>,
    node: Node,
    layout: &Layout,
    numbers: &[(&'static str, f64)],
    [a, decay, bias]: [Node; 3],
    [b, through]: [Operand; 2],
) -> Launch {
    let (out, inputs) = (s.graph.shape(node), s.inputs(node));
    // As many invocations to a column as it has slices, a power of two of them.
    let slices = layout.cols.div_ceil(SLICE).next_power_of_two();
    let columns = WORKGROUP / slices;
    let tiles = layout.rows.div_ceil(columns);
    let mut constants = vec![
        ("HEADS", layout.heads as f64),
        ("KEY_HEADS", layout.groups as f64),
        ("ROWS", layout.rows as f64),
        ("FOURS", (layout.cols / 4) as f64),
        ("Q_AT", layout.at[0] as f64),
        ("K_AT", layout.at[1] as f64),
        ("V_AT", layout.at[2] as f64),
        ("STRIDE", s.graph.shape(inputs[0]).stride() as f64),
        ("A_STRIDE", s.graph.shape(a).stride() as f64),
        ("OUT_STRIDE", out.stride() as f64),
        ("SLICES", slices as f64),
        ("TILES", tiles as f64),
    ];
    constants.extend(numbers);
    let operands = [
        Operand::Step,
        Operand::Value(inputs[0]),
        Operand::Value(a),
        b,
        Operand::Vector(decay),
        Operand::Vector(bias),
        through,
        Operand::State(inputs[5]),
        Operand::Value(node),
    ];
    let extent = Extent::PerRow { rows: out.rows, each: (layout.heads * tiles) as u32 };
    single(s, node, Dispatch { kernel: "recurrent", constants, extent }, &operands)
}
