//! `wgsl/{route,expert_matvec,combine}.wgsl`: the choice of experts, their products, and the sum of those. And
//! `wgsl/group_matvec.wgsl`: products with matrices that need no choice.

use crate::gpu::memory::weights::weight;
use crate::gpu::plan::dispatch::{Dispatch, Extent};
use crate::gpu::plan::kernels::{in_order, output_rows, single};
use crate::gpu::plan::{Launch, Operand, Planner, parts};
use crate::graph::Node;
use crate::ops::{Combine, ExpertLinear, GroupLinear, Route, Scoring};

/// Rows of an expert that a workgroup computes.
const TASKS: u32 = 8;
/// Invocations of a workgroup that routes a row, one for an expert where that is possible.
const WORKGROUP: [u32; 2] = [32, 256];
/// Numbers of a workgroup that combines.
const TILE: u32 = 64;

/// The dispatch of a route.
pub fn route(s: &Planner<'_>, node: Node, op: &Route) -> Launch {
    let (out, inputs) = (s.graph.shape(node), s.inputs(node));
    let logits = s.graph.shape(inputs[0]);
    let workgroup = (logits.cols as u32).next_power_of_two().clamp(WORKGROUP[0], WORKGROUP[1]);
    let constants = vec![
        ("EXPERTS", logits.cols as f64),
        ("USED", op.used as f64),
        ("SIGMOID", (op.scoring == Scoring::Sigmoid) as u32 as f64),
        ("LOGIT_FACTOR", op.factor as f64),
        ("NORMALISE", op.normalise.is_some() as u32 as f64),
        ("NORM_EPS", op.normalise.unwrap_or(0.0) as f64),
        ("SCALE", op.scale as f64),
        ("BIAS", op.bias(inputs).is_some() as u32 as f64),
        ("FACTORS", op.factors as u32 as f64),
        ("GROUPS", op.groups as f64),
        ("GROUPS_USED", op.groups_used as f64),
        ("GROUP_BEST", op.group_best as f64),
        ("STRIDE", logits.stride() as f64),
        ("OUT_STRIDE", out.stride() as f64),
        ("WORKGROUP", workgroup as f64),
        output_rows(out),
    ];
    let vector = |input: Option<&Node>| input.map_or(Operand::Nothing, |&v| Operand::Vector(v));
    let (bias, factors) = (vector(op.bias(inputs)), vector(op.factors_of(inputs)));
    let operands = [Operand::Step, Operand::Value(inputs[0]), bias, Operand::Value(node), factors];
    let extent = Extent::PerRow { rows: out.rows, each: 1 };
    single(s, node, Dispatch { kernel: "route", constants, extent }, &operands)
}

/// A dispatch for each part of the experts' weights.
pub fn linear(s: &Planner<'_>, node: Node, op: &ExpertLinear) -> Vec<Launch> {
    let g = s.graph;
    let (out, inputs) = (g.shape(node), s.inputs(node));
    let (x, route, n) = (g.shape(inputs[0]), g.shape(inputs[2]), weight(g, inputs[1]).rows);
    let cols = weight(g, inputs[1]).cols;
    let bias = inputs.get(3).map_or(Operand::Nothing, |&b| Operand::Vector(b));
    let width = (TASKS * s.caps.subgroup_size).min(s.caps.invocations.min(256)).max(32);
    let groups = (n as u32).div_ceil(TASKS);
    let mut launches = parts(s, inputs[1], node, |held| {
        let mut constants = vec![
            ("COLS", cols as f64),
            ("STRIDE", x.stride() as f64),
            ("EACH", (x.cols != cols) as u32 as f64),
            ("N", n as f64),
            ("FIRST_ROW", held.at as f64),
            ("USED", op.used as f64),
            ("FIRST_EXPERT", (held.first / n) as f64),
            ("EXPERTS", (held.rows / n) as f64),
            ("ROUTE_STRIDE", route.stride() as f64),
            ("OUT_STRIDE", out.stride() as f64),
            ("BIAS", (inputs.len() == 4) as u32 as f64),
            ("GROUPS", groups as f64),
            ("WEIGHTED", op.weighted as u32 as f64),
            ("TASKS", TASKS as f64),
            ("WORKGROUP", width as f64),
            output_rows(out),
        ];
        constants.extend(s.caps.subgroup_constant());
        let extent = Extent::PerRow { rows: out.rows, each: op.used as u32 * groups };
        let (x, route) = (Operand::Value(inputs[0]), Operand::Value(inputs[2]));
        let operands = [Operand::Step, x, route, bias, Operand::Value(node)];
        (Dispatch { kernel: "expert_matvec", constants, extent }, in_order(&operands))
    });
    // A row of the step reads the experts that it goes to, wherever they are.
    let each = op.used * n / launches.len().max(1);
    launches.iter_mut().filter_map(|l| l.weight.as_mut()).for_each(|w| w.rows = each);
    launches
}

/// A dispatch for each part of the matrices of a row's stretches.
pub fn group_linear(s: &Planner<'_>, node: Node, op: &GroupLinear) -> Vec<Launch> {
    let g = s.graph;
    let (out, inputs) = (g.shape(node), s.inputs(node));
    let (x, w) = (g.shape(inputs[0]), g.shape(inputs[1]));
    let (n, rest) = (op.rows(w), op.rest(x, w));
    let width = (TASKS * s.caps.subgroup_size).min(s.caps.invocations.min(256)).max(32);
    let shares = ((n + rest) as u32).div_ceil(TASKS);
    parts(s, inputs[1], node, |held| {
        let mut constants = vec![
            ("COLS", w.cols as f64),
            ("STRIDE", x.stride() as f64),
            ("STRETCH", (x.cols / op.groups) as f64),
            ("N", n as f64),
            ("REST", rest as f64),
            ("GROUPS", op.groups as f64),
            ("FIRST_GROUP", (held.first / n) as f64),
            ("HELD", (held.rows / n) as f64),
            ("OUT_STRIDE", out.stride() as f64),
            ("SHARES", shares as f64),
            ("TASKS", TASKS as f64),
            ("WORKGROUP", width as f64),
            output_rows(out),
        ];
        constants.extend(s.caps.subgroup_constant());
        let extent = Extent::PerRow { rows: out.rows, each: op.groups as u32 * shares };
        let operands = [Operand::Step, Operand::Value(inputs[0]), Operand::Value(node)];
        (Dispatch { kernel: "group_matvec", constants, extent }, in_order(&operands))
    })
}

/// The dispatch of the weighted sum, and of what that is added to.
pub fn combine(s: &Planner<'_>, node: Node, op: &Combine, add: Option<[Node; 2]>) -> Launch {
    let (out, inputs) = (s.graph.shape(node), s.inputs(node));
    let constants = vec![
        ("N", out.cols as f64),
        ("USED", op.used as f64),
        ("WEIGHTED", op.weighted as u32 as f64),
        ("RESIDUAL", add.is_some() as u32 as f64),
        ("STRIDE", s.graph.shape(inputs[0]).stride() as f64),
        ("ROUTE_STRIDE", s.graph.shape(inputs[1]).stride() as f64),
        ("OUT_STRIDE", out.stride() as f64),
        output_rows(out),
    ];
    let residual = add.map_or(Operand::Nothing, |[_, to]| Operand::Value(to));
    let value = Operand::Value(add.map_or(node, |[sum, _]| sum));
    let operands = [Operand::Step, Operand::Value(inputs[0]), Operand::Value(inputs[1]), value, residual];
    let extent = Extent::Elements { rows: out.rows, cols: out.cols as u32, tile: TILE };
    let mut launch = single(s, node, Dispatch { kernel: "combine", constants, extent }, &operands);
    launch.nodes.extend(add.map(|[sum, _]| sum));
    launch
}
