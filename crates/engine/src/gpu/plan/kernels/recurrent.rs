//! A matrix for each head, which rows change: of one row and of few by `wgsl/recurrent.wgsl`, row by row; of many in chunks, by
//! `wgsl/recurrent_chunk.wgsl` for what rows say to each other and `wgsl/recurrent_scan.wgsl` for what the state says to them.

use crate::gpu::plan::dispatch::{Dispatch, Extent, RowRange};
use crate::gpu::plan::kernels::single;
use crate::gpu::plan::{Launch, Operand, Planner, RowClass};
use crate::graph::{Graph, Node};
use crate::ops::{DeltaRule, Op, Ssd};

/// Invocations of a workgroup that goes row by row.
const WORKGROUP: usize = 64;
/// Numbers of a column that an invocation of it keeps: the kernel's arrays.
const SLICE: usize = 16;
/// Rows of a chunk, and columns that a workgroup takes through them.
const CHUNK: usize = 32;
const COLUMNS: usize = 16;
/// The longest column that its invocations keep.
const LONGEST: usize = 256;
/// Numbers that are left of a row and a head in between: `wgsl/lib/chunks.wgsl`.
const ROW: usize = 68;

/// What the two rules have in common: heads of `rows` columns of `cols` numbers, in a row of x where the rule says.
struct Layout {
    heads: usize,
    groups: usize,
    rows: usize,
    cols: usize,
    /// Where what asks, what is written under and what is written begin.
    at: [usize; 3],
    delta: bool,
    eps: f32,
}

/// What the two rules have in common of their inputs; Mamba-2 has no b, the delta rule no `through`.
struct Inputs {
    a: Node,
    b: Option<Node>,
    decay: Node,
    bias: Node,
    through: Option<Node>,
}

/// Bytes between the two dispatches that go through `rows` rows in chunks.
pub fn chunk_bytes(g: &Graph, node: Node, rows: usize) -> usize {
    let heads = match g.entry(node).op() {
        Some((Op::DeltaRule(op), _)) => op.v_heads,
        Some((Op::Ssd(op), _)) => op.heads,
        _ => 0,
    };
    rows.next_multiple_of(CHUNK) * heads * ROW * 4
}

/// The dispatches of the delta rule.
pub fn delta_rule(s: &Planner<'_>, node: Node, op: &DeltaRule) -> Vec<Launch> {
    let keys = op.k_heads * op.width;
    let layout = Layout {
        heads: op.v_heads,
        groups: op.k_heads,
        rows: op.width,
        cols: op.width,
        at: [0, keys, 2 * keys],
        delta: true,
        eps: op.eps,
    };
    let &[_, a, b, decay, bias, _] = s.inputs(node) else { panic!("the delta rule has six inputs") };
    launches(s, node, &layout, &Inputs { a, b: Some(b), decay, bias, through: None })
}

/// The dispatches of Mamba-2's recurrence.
pub fn ssd(s: &Planner<'_>, node: Node, op: &Ssd) -> Vec<Launch> {
    let (inner, keys) = (op.heads * op.width, op.groups * op.state);
    let layout = Layout {
        heads: op.heads,
        groups: op.groups,
        rows: op.width,
        cols: op.state,
        at: [inner + keys, inner, 0],
        delta: false,
        eps: 0.0,
    };
    let &[_, a, decay, bias, through, _] = s.inputs(node) else { panic!("Mamba-2 has six inputs") };
    launches(s, node, &layout, &Inputs { a, b: None, decay, bias, through: Some(through) })
}

fn launches(s: &Planner<'_>, node: Node, layout: &Layout, inputs: &Inputs) -> Vec<Launch> {
    match s.class {
        RowClass::Many if layout.cols <= LONGEST => in_chunks(s, node, layout, inputs),
        _ => vec![row_by_row(s, node, layout, inputs)],
    }
}

/// The numbers that all three kernels take.
fn common(s: &Planner<'_>, node: Node, layout: &Layout) -> Vec<(&'static str, f64)> {
    vec![
        ("HEADS", layout.heads as f64),
        ("KEY_HEADS", layout.groups as f64),
        ("FOURS", (layout.cols / 4) as f64),
        ("Q_AT", layout.at[0] as f64),
        ("K_AT", layout.at[1] as f64),
        ("STRIDE", s.graph.shape(s.inputs(node)[0]).stride() as f64),
        ("DELTA", layout.delta as u32 as f64),
    ]
}

/// Those that say where columns of the state are.
fn of_columns(s: &Planner<'_>, node: Node, layout: &Layout, tiles: usize) -> [(&'static str, f64); 4] {
    [
        ("ROWS", layout.rows as f64),
        ("V_AT", layout.at[2] as f64),
        ("OUT_STRIDE", s.graph.shape(node).stride() as f64),
        ("TILES", tiles as f64),
    ]
}

/// Those that say how a row's gates are found.
fn of_gates(s: &Planner<'_>, layout: &Layout, inputs: &Inputs) -> [(&'static str, f64); 3] {
    let stride = |node: Node| s.graph.shape(node).stride() as f64;
    [("A_STRIDE", stride(inputs.a)), ("B_STRIDE", inputs.b.map_or(0.0, stride)), ("EPS", layout.eps as f64)]
}

/// The operands of gates, from x on.
fn gates(s: &Planner<'_>, node: Node, inputs: &Inputs) -> [Operand; 6] {
    [
        Operand::Step,
        Operand::Value(s.inputs(node)[0]),
        Operand::Value(inputs.a),
        inputs.b.map_or(Operand::Nothing, Operand::Value),
        Operand::Vector(inputs.decay),
        Operand::Vector(inputs.bias),
    ]
}

fn row_by_row(s: &Planner<'_>, node: Node, layout: &Layout, inputs: &Inputs) -> Launch {
    // As many invocations to a column as it has slices, a power of two of them.
    let slices = layout.cols.div_ceil(SLICE).next_power_of_two();
    let tiles = layout.rows.div_ceil(WORKGROUP / slices);
    let mut constants = common(s, node, layout);
    constants.extend(of_columns(s, node, layout, tiles));
    constants.extend(of_gates(s, layout, inputs));
    constants.push(("SLICES", slices as f64));
    let mut operands = gates(s, node, inputs).to_vec();
    operands.extend([
        inputs.through.map_or(Operand::Nothing, Operand::Vector),
        Operand::State(s.inputs(node)[5]),
        Operand::Value(node),
    ]);
    let extent = Extent::PerRow { rows: s.graph.shape(node).rows, each: (layout.heads * tiles) as u32 };
    single(s, node, Dispatch { kernel: "recurrent", constants, extent }, &operands)
}

fn in_chunks(s: &Planner<'_>, node: Node, layout: &Layout, inputs: &Inputs) -> Vec<Launch> {
    let extent = |each: usize| Extent::RowTiles {
        rows: s.graph.shape(node).rows,
        tile: CHUNK as u32,
        each: each as u32,
        within: RowRange::ALL,
    };
    let mut constants = common(s, node, layout);
    constants.extend(of_gates(s, layout, inputs));
    let mut operands = gates(s, node, inputs).to_vec();
    operands.push(Operand::Chunks(node));
    let chunks = Dispatch { kernel: "recurrent_chunk", constants, extent: extent(layout.heads) };
    let chunks = Launch { nodes: Vec::new(), ..single(s, node, chunks, &operands) };

    let tiles = layout.rows.div_ceil(COLUMNS);
    let mut constants = common(s, node, layout);
    constants.extend(of_columns(s, node, layout, tiles));
    let scan = Dispatch { kernel: "recurrent_scan", constants, extent: extent(layout.heads * tiles) };
    let operands = [
        Operand::Step,
        Operand::Value(s.inputs(node)[0]),
        Operand::Chunks(node),
        inputs.through.map_or(Operand::Nothing, Operand::Vector),
        Operand::State(s.inputs(node)[5]),
        Operand::Value(node),
    ];
    vec![chunks, single(s, node, scan, &operands)]
}
