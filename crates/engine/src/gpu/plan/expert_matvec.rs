//! The products of chosen experts for few rows, as two matvecs: gate and up of each expert with the gate as their epilogue, and down, whose rows are as
//! long as all chosen experts' together, with the weighted sum and the residual as its epilogue.

use crate::gpu::link::Slots;
use crate::gpu::memory::weights::weight;
use crate::gpu::plan::copies::{Copies, Copy, CopyKind};
use crate::gpu::plan::dispatch::{Dispatch, Extent};
use crate::gpu::plan::experts::{Experts, Sizes};
use crate::gpu::plan::groups::{bias, eps, inputs, op};
use crate::gpu::plan::kernels::{activation, matvec_constants};
use crate::gpu::plan::lower::{biases_of, in_place_of_biases, kind_of, place, writes_copy};
use crate::gpu::plan::{Arithmetic, Launch, Operand, Planner, RowClass, WeightRead, matvec};
use crate::graph::{Node, Rows};
use crate::ops::{Op, Route, Scoring};

/// Pairs of rows that a workgroup sums up: 16 numbers of a copy, of gate and up and of down.
const GATE_PAIRS: u32 = 16;
const DOWN_PAIRS: u32 = 8;
/// Storage buffers of gate and up that choose the experts, too, at most.
const ROUTED_BUFFERS: u32 = 12;
/// Logits that a lane has in such a kernel, at most.
const LANE_LOGITS: u32 = 16;
/// Buffers of weights beside which there is room for biases and a copy.
const PLANES: usize = 2;

/// Whether the weights lie as these kernels read them.
pub fn fits(s: &Planner<'_>, e: &Experts) -> bool {
    let Sizes { used, ffn, width, .. } = e.sizes(s.graph);
    // Each expert's numbers of a row begin at a whole vector, and rows come in pairs.
    let whole =
        s.graph.shape(e.gate).stride() == used * ffn && ffn.is_multiple_of(4) && width.is_multiple_of(2);
    whole && place(s, &e.linears).is_some() && place(s, &[e.down]).is_some()
}

/// The copies that the two read; none where one reads a value as it is.
pub fn wanted(s: &Planner<'_>, e: &Experts) -> Vec<Copy> {
    [x_copy(s, e, false), gate_copy(s, e, false)].into_iter().flatten().collect()
}

/// The values along with which copies can be written: that between the products, and what the group leaves behind.
pub fn writes_along(s: &Planner<'_>, e: &Experts) -> Vec<Node> {
    let last = Some(e.value()).filter(|_| writes_last(s, e));
    [e.gate].into_iter().chain(last).collect()
}

/// Whether there is a buffer left for the copy of what the group leaves behind.
fn writes_last(s: &Planner<'_>, e: &Experts) -> bool {
    let format = e.weight(s.graph, e.down).format;
    bias(s.graph, e.down).is_none() || format.planes.len() + format.grid.is_some() as usize <= PLANES
}

/// The copy that gate and up read.
pub fn x_copy(s: &Planner<'_>, e: &Experts, many: bool) -> Option<Copy> {
    let kind = kind_of(s, e.weight(s.graph, e.linears[0]), many);
    match e.norm {
        Some(norm) => Some(Copy::new(norm, inputs(s.graph, norm)[0], kind)),
        None => (kind != CopyKind::F32).then(|| Copy::new(e.x(s.graph), e.x(s.graph), kind)),
    }
}

/// The copy that down reads, a row for each expert of a row.
pub fn gate_copy(s: &Planner<'_>, e: &Experts, many: bool) -> Option<Copy> {
    let kind = kind_of(s, e.weight(s.graph, e.down), many);
    let shares = e.sizes(s.graph).used;
    (kind != CopyKind::F32).then(|| Copy { shares, ..Copy::new(e.gate, e.gate, kind) })
}

/// The route, where gate and up choose the experts by themselves: of all experts, not of groups, and where nobody asks but these products.
pub fn routed(s: &Planner<'_>, e: &Experts) -> Option<(Node, Route)> {
    let route = e.route(s.graph);
    let Some(&Op::Route(op)) = op(s.graph, route) else { return None };
    // What each expert has for the choice or for its weight is read where biases of products are.
    let has_biases = e.linears.iter().any(|&l| bias(s.graph, l).is_some());
    let plain = op.groups == 1 && inputs(s.graph, route).len() + has_biases as usize <= 2;
    // A workgroup knows the score of its own expert, and not those of all others.
    let alone = op.scoring == Scoring::Sigmoid && op.normalise.is_none() && !op.factors;
    let (nodes, sizes) = (e.nodes(), e.sizes(s.graph));
    // Whether activations are integers is whether weights are: there are no more kernels than that.
    let integer = e.weight(s.graph, e.linears[0]).format.integer;
    let copies = [x_copy(s, e, false), gate_copy(s, e, false)];
    let alike = copies.iter().all(|c| c.is_some_and(|c| c.kind == CopyKind::I8) == integer);
    let fits = s.class == RowClass::One
        && s.caps.subgroups
        && s.caps.subgroup_size_fixed
        && sizes.experts <= (LANE_LOGITS * s.caps.subgroup_size) as usize
        && sizes.used <= s.caps.subgroup_size as usize
        && !s.caps.software
        && s.caps.storage_buffers >= ROUTED_BUFFERS
        && plain
        && (alone || !e.weighted_early(s.graph))
        && alike
        && s.graph.users(route).iter().all(|user| nodes.contains(user))
        && fits(s, e);
    fits.then_some((route, op))
}

/// Both launches.
pub fn launches(s: &Planner<'_>, copies: &Copies, e: &Experts) -> Vec<Launch> {
    vec![gates(s, copies, e), sums(s, copies, e)]
}

/// Gate and up of a row's experts, a row of results for each, and the gate.
fn gates(s: &Planner<'_>, copies: &Copies, e: &Experts) -> Launch {
    let g = s.graph;
    let Sizes { used, ffn, .. } = e.sizes(g);
    let (gate, clamp) = e.middle(g);
    let [expert_rows, pair_step] = e.steps(g);
    let eps = eps(g, e.norm);
    let x = (x_copy(s, e, false), e.x(g), g.shape(e.x(g)).stride());
    let mut launch = product(s, &e.linears, 2 * ffn, [GATE_PAIRS, used as u32], 1, x);
    let (biases, has_bias) = biases_of(g, &e.linears);
    launch.dispatch.constants.extend([
        ("PAIR_STEP", pair_step as f64),
        ("NORM", eps.is_some() as u32 as f64),
        ("EPS", eps.unwrap_or(0.0)),
        ("SHARES", used as f64),
        ("EXPERT_ROWS", expert_rows as f64),
        ("ACT", activation(gate.act)),
        ("CLAMPED", gate.clamp.is_some() as u32 as f64),
        ("LIMIT", clamp.limit as f64),
        ("SHIFT", clamp.shift as f64),
        ("BIAS", has_bias),
        ("OUT_STRIDE", ffn as f64),
    ]);
    launch.operands.extend([(2, Operand::Value(e.gate)), (3, biases)]);
    match routed(s, e) {
        Some((route, op)) => {
            let of_route = inputs(g, route);
            let (bias, factors) = (op.bias(of_route), op.factors_of(of_route));
            let sigmoid = op.scoring == Scoring::Sigmoid;
            // Shares of the chosen alone are told from each other without the sum over all.
            let over_all = !sigmoid && (bias.is_some() || op.normalise != Some(0.0));
            launch.dispatch.constants.extend([
                ("ROUTE_SCALE", op.scale as f64),
                ("LOGIT_FACTOR", op.factor as f64),
                ("SIGMOID", sigmoid as u32 as f64),
                ("OVER_ALL", over_all as u32 as f64),
                ("NORMALISE", op.normalise.is_some() as u32 as f64),
                ("NORM_EPS", op.normalise.unwrap_or(0.0) as f64),
                ("ROUTE_BIAS", bias.is_some() as u32 as f64),
                ("ROUTE_FACTORS", factors.is_some() as u32 as f64),
                ("EARLY", e.weighted_early(g) as u32 as f64),
            ]);
            if let Some(&of_each) = bias.or(factors) {
                in_place_of_biases(&mut launch, Operand::Vector(of_each));
            }
            launch.operands.extend([(4, Operand::Value(of_route[0])), (5, Operand::Value(route))]);
            launch.slots.output = Some("expert_gate_routed");
            launch.nodes.push(route);
        }
        None => {
            launch.dispatch.constants.extend([
                ("ROUTE_STRIDE", g.shape(e.route(g)).stride() as f64),
                ("WEIGHTED", e.weighted_early(g) as u32 as f64),
            ]);
            launch.operands.push((4, Operand::Value(e.route(g))));
            launch.slots.output = Some("expert_gate");
        }
    }
    launch.nodes.extend(e.front());
    launch.nodes.sort_unstable();
    writes_copy(g, copies, e.gate, &mut launch);
    launch
}

/// Down of a row's experts, added up, and added to the residual.
fn sums(s: &Planner<'_>, copies: &Copies, e: &Experts) -> Launch {
    let g = s.graph;
    let Sizes { used, ffn, width, .. } = e.sizes(g);
    let x = (gate_copy(s, e, false), e.gate, ffn);
    let mut launch = product(s, &[e.down], width, [DOWN_PAIRS, 1], used, x);
    launch.dispatch.constants.extend([
        ("PAIR_STEP", 1.0),
        ("NORM", 0.0),
        ("EPS", 0.0),
        ("STRETCHES", used as f64),
        ("EXPERT_ROWS", width as f64),
        ("ROUTE_STRIDE", g.shape(e.route(g)).stride() as f64),
        ("WEIGHTED", e.weighted_late(g) as u32 as f64),
        ("RESIDUAL", e.add.is_some() as u32 as f64),
        ("OUT_STRIDE", g.shape(e.value()).stride() as f64),
    ]);
    let residual = e.add.map_or(Operand::Nothing, |[_, to]| Operand::Value(to));
    launch.operands.extend([(2, Operand::Value(e.value())), (4, residual), (5, Operand::Value(e.route(g)))]);
    launch.slots.output = Some("expert_sum");
    if let Some(bias) = bias(g, e.down) {
        launch.operands.push((3, Operand::Vector(bias)));
        launch.slots.output = Some("expert_sum_bias");
    }
    launch.nodes = [e.down].into_iter().chain(e.behind()).collect();
    writes_copy(g, copies, e.value(), &mut launch);
    launch
}

/// A matvec of `rows` rows of each expert of `linears`, by pairs to a workgroup and rows of results to a row, with as many `stretches` to a row of weights.
/// It reads a copy, or else a value whose rows are as far apart as is said.
fn product(
    s: &Planner<'_>,
    linears: &[Node],
    rows: usize,
    [pairs, shares]: [u32; 2],
    stretches: usize,
    (copy, x, stride): (Option<Copy>, Node, usize),
) -> Launch {
    let Some((at, first)) = place(s, linears) else { panic!("the weights of experts that fit lie together") };
    let matrix = &s.layout.matrices[at];
    let integer = copy.is_some_and(|copy| copy.kind == CopyKind::I8);
    let (x, stride) = match copy {
        Some(copy) => (Operand::ActivationCopy(copy), copy.stride(s.graph)),
        None => (Operand::Value(x), stride),
    };
    let mut constants = matvec_constants(matrix.cols, rows, first);
    constants.extend([
        ("SINGLE", (s.class == RowClass::One) as u32 as f64),
        ("OUTPUT_ROWS", 0.0),
        ("EXPERTS", weight(s.graph, inputs(s.graph, linears[0])[1]).experts as f64),
        (if integer { "X_STRIDE" } else { "STRIDE" }, stride as f64),
    ]);
    let extent = Extent::PerRow { rows: Rows::Step, each: 1 };
    let mut dispatch = Dispatch { kernel: "matvec", constants, extent };
    let cols = stretches * matrix.format.padded_cols(matrix.cols);
    let shares = [pairs, shares];
    matvec::shape(s.caps, matrix.format, cols, rows, shares, matvec::SINGLE, &mut dispatch, Rows::Step);
    let input = if integer { CopyKind::I8 } else { CopyKind::F32 };
    Launch {
        nodes: Vec::new(),
        dispatch,
        operands: vec![(0, Operand::Step), (1, x)],
        weight: Some(WeightRead { matrix: at, part: 0, rows: rows * shares[1] as usize * stretches }),
        slots: Slots { input: Some(input.stem()), ..s.slots(Some(matrix.format.wgsl)) },
        arithmetic: if integer { Arithmetic::Int8 } else { Arithmetic::F32 },
    }
}
