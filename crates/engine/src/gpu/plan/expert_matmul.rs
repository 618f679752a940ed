//! The products of chosen experts for many rows: rows are sorted by expert on the device (`wgsl/expert_tiles.wgsl`), and each tile of a matmul is of rows
//! that go to one of them, taken from wherever they are.

use crate::backend::Precision;
use crate::gpu::caps::{Caps, Matrix};
use crate::gpu::link::Slots;
use crate::gpu::plan::copies::{Copy, CopyKind};
use crate::gpu::plan::dispatch::{Dispatch, Extent};
use crate::gpu::plan::expert_matvec::{gate_copy, x_copy};
use crate::gpu::plan::experts::{Experts, Sizes};
use crate::gpu::plan::groups::{bias, eps, inputs, op};
use crate::gpu::plan::kernels::{self, activation, matvec_constants};
use crate::gpu::plan::lower::{biases_of, feed, place};
use crate::gpu::plan::matmul::{INTEGER_COLUMNS, INTEGER_ROWS, TILES, Tile};
use crate::gpu::plan::{Arithmetic, Launch, Operand, Planner, WeightRead};
use crate::graph::{Graph, Node};
use crate::ops::Op;

/// Rows that tiles are chosen for: those of a step of a long prompt.
const TYPICAL_ROWS: usize = 512;
/// Rows of the smallest tile.
const LEAST_ROWS: usize = 32;
/// Invocations that sort.
const WORKGROUP: u32 = 256;

/// Words of the tiles of `rows` rows and of the rows by expert.
pub fn tiles_words(g: &Graph, route: Node, rows: usize) -> usize {
    let used = g.shape(route).cols / 2;
    let experts = g.shape(inputs(g, route)[0]).cols;
    4 * (rows * used / LEAST_ROWS + experts) + rows * used
}

/// Whether experts are computed here.
pub fn fits(s: &Planner<'_>, e: &Experts) -> bool {
    let Sizes { used, ffn, width, .. } = e.sizes(s.graph);
    let stride = |node: Node| s.graph.shape(node).stride();
    let whole = stride(e.gate) == used * ffn && stride(e.down) == used * width;
    let rounded = |copy: Option<Copy>| copy.is_some_and(|copy| copy.kind != CopyKind::F32);
    // No matmul's sums are multiplied by weights of routes, as those of experts that weight what they are given would have to be.
    s.precision == Precision::Fast
        && !e.weighted_early(s.graph)
        && whole
        && ffn.is_multiple_of(4)
        && width.is_multiple_of(4)
        && s.caps.matrix.is_none_or(|matrix| tile(s.caps, matrix, e.sizes(s.graph)).is_some())
        && rounded(x_copy(s, e, true))
        && rounded(gate_copy(s, e, true))
        && place(s, &e.linears).is_some()
        && place(s, &[e.down]).is_some()
}

/// The copy that is read first.
pub fn wanted(s: &Planner<'_>, e: &Experts) -> Option<Copy> {
    x_copy(s, e, true)
}

/// The tile whose rows are nearest above those that an expert has with some to spare, or else the largest.
fn tile(caps: &Caps, matrix: Matrix, sizes: Sizes) -> Option<Tile> {
    let rows = (TYPICAL_ROWS * sizes.used * 3 / (2 * sizes.experts)) as u32;
    let fitting = || TILES.into_iter().filter(|tile| tile.fits(caps, matrix));
    fitting().filter(|tile| tile.rows >= rows).min_by_key(|tile| tile.rows).or(fitting().next())
}

/// All launches, of which each waits for the one before.
pub fn launches(s: &Planner<'_>, e: &Experts) -> Vec<Launch> {
    let mut launches = vec![sort(s, e), gates(s, e)];
    launches.extend(gate_copy(s, e, true).into_iter().flat_map(|copy| feed(s, copy)));
    launches.push(down(s, e));
    if let Some(Op::Combine(combine)) = op(s.graph, e.combine) {
        launches.push(kernels::combine(s, e.combine, combine, e.add));
    }
    launches
}

/// Rows of a tile.
fn tile_rows(s: &Planner<'_>, e: &Experts) -> u32 {
    let tile = s.caps.matrix.and_then(|matrix| tile(s.caps, matrix, e.sizes(s.graph)));
    tile.map_or(INTEGER_ROWS, |tile| tile.rows)
}

fn sort(s: &Planner<'_>, e: &Experts) -> Launch {
    let (route, sizes) = (e.route(s.graph), e.sizes(s.graph));
    let constants = vec![
        ("EXPERTS", sizes.experts as f64),
        ("USED", sizes.used as f64),
        ("TILE", tile_rows(s, e) as f64),
        ("ROUTE_STRIDE", s.graph.shape(route).stride() as f64),
        ("WORKGROUP", WORKGROUP.min(s.caps.invocations) as f64),
    ];
    Launch {
        nodes: Vec::new(),
        dispatch: Dispatch { kernel: "expert_tiles", constants, extent: Extent::One },
        operands: vec![(0, Operand::Step), (1, Operand::Value(route)), (2, Operand::Tiles(route))],
        weight: None,
        slots: s.slots(None),
        arithmetic: Arithmetic::F32,
    }
}

/// Gate and up, and the gate.
fn gates(s: &Planner<'_>, e: &Experts) -> Launch {
    let g = s.graph;
    let Sizes { used, ffn, .. } = e.sizes(g);
    let (gate, clamp) = e.middle(g);
    let (biases, has_bias) = biases_of(g, &e.linears);
    let mut launch = product(s, e, &e.linears, 2 * ffn, x_copy(s, e, true), used);
    launch.dispatch.constants.extend([
        ("OUT_STRIDE", ffn as f64),
        ("BIAS", has_bias),
        ("THEN", 3.0),
        ("ACT", activation(gate.act)),
        ("CLAMPED", gate.clamp.is_some() as u32 as f64),
        ("LIMIT", clamp.limit as f64),
        ("SHIFT", clamp.shift as f64),
    ]);
    launch.operands.extend([(2, Operand::Value(e.gate)), (3, biases)]);
    launch.nodes = e.front();
    launch
}

fn down(s: &Planner<'_>, e: &Experts) -> Launch {
    let width = e.sizes(s.graph).width;
    let bias = bias(s.graph, e.down);
    let mut launch = product(s, e, &[e.down], width, gate_copy(s, e, true), 1);
    launch.dispatch.constants.extend([
        ("OUT_STRIDE", width as f64),
        ("BIAS", bias.is_some() as u32 as f64),
        ("THEN", 0.0),
        ("ACT", 0.0),
        ("CLAMPED", 0.0),
        ("LIMIT", 0.0),
        ("SHIFT", 0.0),
    ]);
    let bias = bias.map_or(Operand::Nothing, Operand::Vector);
    launch.operands.extend([(2, Operand::Value(e.down)), (3, bias)]);
    launch.nodes = vec![e.down];
    launch
}

/// A matmul of `rows` rows of each expert of `linears`; `x_shares` of a row's experts read the same row of the copy.
fn product(
    s: &Planner<'_>,
    e: &Experts,
    linears: &[Node],
    rows: usize,
    copy: Option<Copy>,
    x_shares: usize,
) -> Launch {
    let g = s.graph;
    let (Some((at, first)), Some(copy)) = (place(s, linears), copy) else {
        panic!("experts that fit read a copy, and their weights lie together")
    };
    let matrix = &s.layout.matrices[at];
    let Sizes { experts, used, .. } = e.sizes(g);
    let [expert_rows, pair_step] = if linears == [e.down] { [rows, 0] } else { e.steps(g) };
    let mut constants = matvec_constants(matrix.cols, rows, first);
    constants.extend([
        ("X_STRIDE", copy.stride(g) as f64),
        ("FIRST_OUT", 0.0),
        ("EXPERTS", experts as f64),
        ("USED", used as f64),
        ("X_SHARES", x_shares as f64),
        ("EXPERT_ROWS", expert_rows as f64),
        ("PAIR_STEP", pair_step as f64),
    ]);
    let x = Operand::ActivationCopy(copy);
    let mut operands =
        vec![(0, Operand::Step), (1, x), (4, Operand::Nothing), (6, Operand::Tiles(e.route(g)))];
    let chosen = s.caps.matrix.and_then(|matrix| Some((matrix, tile(s.caps, matrix, e.sizes(g))?)));
    let mut slots = Slots { tiles: Some("experts"), ..s.slots(Some(matrix.format.wgsl)) };
    let (kernel, tile, columns, arithmetic) = match chosen {
        Some((units, tile)) => {
            constants.push(("AHEAD", 1.0));
            constants.extend(tile.constants(s.caps, units));
            operands.push((5, x));
            slots.matrix = Some(units.stem());
            slots.subgroups = s.caps.subgroups && units != Matrix::Emulated;
            ("matmul_matrix", tile.rows, tile.columns, Arithmetic::F16)
        }
        None => {
            let eps = eps(g, copy.norm());
            constants.extend([("NORM", eps.is_some() as u32 as f64), ("EPS", eps.unwrap_or(0.0))]);
            constants.extend(s.caps.subgroup_constant());
            slots.input = Some(CopyKind::I8.stem());
            ("matmul_int8", INTEGER_ROWS, INTEGER_COLUMNS, Arithmetic::Int8)
        }
    };
    let each = (rows as u32).div_ceil(columns);
    let extent = Extent::ExpertTiles { experts: experts as u32, used: used as u32, tile, each };
    Launch {
        nodes: Vec::new(),
        dispatch: Dispatch { kernel, constants, extent },
        operands,
        weight: Some(WeightRead { matrix: at, part: 0, rows: rows * used }),
        slots,
        arithmetic,
    }
}
