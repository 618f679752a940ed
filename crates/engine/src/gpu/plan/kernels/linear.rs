//! `wgsl/{matvec,matmul,matmul_lanes}.wgsl`: a linear alone, by matvec where there are few rows, by matmul where there are many.

use crate::gpu::plan::dispatch::{Dispatch, Extent};
use crate::gpu::plan::kernels::in_order;
use crate::gpu::plan::lanes::{self, MATMUL_COLUMNS, MATMUL_ROWS};
use crate::gpu::plan::matvec;
use crate::gpu::plan::{Held, Launch, Operand, Planner, RowClass, parts};
use crate::graph::{Node, Rows, Shape};

/// Rows and columns of y that one workgroup of `matmul` computes.
const TILE: u32 = 64;
/// Pairs of rows that a workgroup of `matvec` computes.
const PAIRS: u32 = 8;

/// A dispatch for each part of the weight.
pub fn launches(s: &Planner<'_>, node: Node) -> Vec<Launch> {
    let inputs = s.inputs(node);
    let (x, out) = (inputs[0], s.graph.shape(node));
    let few = s.class != RowClass::Many || out.rows == Rows::Outputs;
    let bias = inputs.get(2).map_or(Operand::Nothing, |&b| Operand::Vector(b));
    let with_bias = inputs.len() == 3;
    let mut launches = parts(s, inputs[1], node, |held| {
        if few {
            let dispatch = matvec(s, s.graph.shape(x), out, &held, with_bias);
            let operands = [Operand::Step, Operand::Value(x), Operand::Value(node), bias];
            return (dispatch, in_order(&operands));
        }
        let operands = [Operand::Step, Operand::Value(x), bias, Operand::Value(node)];
        (matmul(s, s.graph.shape(x), out, &held, with_bias), in_order(&operands))
    });
    if few {
        for launch in &mut launches {
            (launch.slots.input, launch.slots.output) = (Some("f32"), Some("plain"));
            launch.slots.copy = Some("none");
        }
    }
    launches
}

fn matmul(s: &Planner<'_>, x: Shape, out: Shape, held: &Held, bias: bool) -> Dispatch {
    let mut constants = vec![
        ("COLS", x.cols as f64),
        ("STRIDE", x.stride() as f64),
        ("N", held.rows as f64),
        ("FIRST_ROW", held.at as f64),
        ("FIRST_OUT", held.first as f64),
        ("OUT_STRIDE", out.stride() as f64),
        ("OUTPUT_ROWS", (out.rows == Rows::Outputs) as u32 as f64),
        ("BIAS", bias as u32 as f64),
    ];
    let (mut kernel, mut tile, mut columns) = ("matmul", TILE, TILE);
    if lanes::fits(s) {
        (kernel, tile, columns) = ("matmul_lanes", MATMUL_ROWS, MATMUL_COLUMNS * s.caps.subgroup_size);
        constants.extend(lanes::constants(s.caps));
    }
    let extent = Extent::Tiles { rows: out.rows, tile, x: (held.rows as u32).div_ceil(columns) };
    Dispatch { kernel, constants, extent }
}

fn matvec(s: &Planner<'_>, x: Shape, out: Shape, held: &Held, bias: bool) -> Dispatch {
    let mut constants = matvec_constants(x.cols, held.rows, held.at);
    constants.extend([
        ("STRIDE", x.stride() as f64),
        ("SINGLE", (s.class == RowClass::One) as u32 as f64),
        ("OUTPUT_ROWS", (out.rows == Rows::Outputs) as u32 as f64),
        ("PAIR_STEP", 1.0),
        ("NORM", 0.0),
        ("EPS", 0.0),
        ("FIRST_OUT", held.first as f64),
        ("OUT_STRIDE", out.stride() as f64),
        ("BIAS", bias as u32 as f64),
    ]);
    let extent = Extent::PerRow { rows: out.rows, each: 1 };
    let mut dispatch = Dispatch { kernel: "matvec", constants, extent };
    let tile = if s.class == RowClass::One { matvec::SINGLE } else { matvec::PAIR };
    matvec::shape(s.caps, held.format, x.cols, held.rows, [PAIRS, 1], tile, &mut dispatch, out.rows);
    dispatch
}

/// Which weights a matvec multiplies: `rows` rows of `cols` from row `first` of what is bound on.
pub fn matvec_constants(cols: usize, rows: usize, first: usize) -> Vec<(&'static str, f64)> {
    vec![("COLS", cols as f64), ("N", rows as f64), ("FIRST_ROW", first as f64)]
}
