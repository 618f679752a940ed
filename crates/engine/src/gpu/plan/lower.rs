//! From groups to launches. For one row and for few they are matvecs whose epilogue is what becomes of their sums, norms, attention.
//!
//! Nearly all of them are matvecs. A norm in front of one disappears: who computes the norm's input also writes its scaled copy, maybe
//! in int8, and the matvec divides by the root mean square at its end (`wgsl/copy/`, `wgsl/input/`).

use crate::backend::Precision;
use crate::gpu::link::Slots;
use crate::gpu::memory::weights::weight;
use crate::gpu::plan::copies::{Copies, Copy, CopyKind};
use crate::gpu::plan::dispatch::{Dispatch, Extent};
use crate::gpu::plan::groups::{Group, Matmul, Norm, Then, bias, eps, inputs, only_user, op, runs};
use crate::gpu::plan::kernels::{self, activation, matvec_constants};
use crate::gpu::plan::matvec::Tile;
use crate::gpu::plan::policy::Steps;
use crate::gpu::plan::projections::{attention_launches, projections};
use crate::gpu::plan::{Arithmetic, Launch, Operand, Planner, RowClass, WeightRead, replace};
use crate::gpu::plan::{attention, attention_matrix, expert_matmul, expert_matvec};
use crate::gpu::plan::{delta, matmul, matmul_few, matvec, summed};
use crate::graph::{Graph, Node, Rows, Weight};
use crate::ops::Op;

/// Pairs of rows that a workgroup sums up, and with a GLU, where a pair leaves one number behind: 16 numbers of a copy either way.
pub const PAIRS: u32 = 8;
const GLU_PAIRS: u32 = 16;
/// And of what a router has, so few rows that many subgroups share each.
const ROUTER_PAIRS: u32 = 2;
/// Rows of a long prompt that share a router's rows.
const ROUTER_TILE: Tile = Tile::of(8);
/// Invocations of a workgroup that makes copies.
pub const WORKGROUP: u32 = 64;

/// Whether a group is computed as one, or node by node.
pub fn fits(s: &Planner<'_>, group: &Group) -> bool {
    if let Some((matmul, _)) = delta::apart(s, group) {
        return fits(s, &matmul);
    }
    if s.class == RowClass::Many {
        return match group {
            Group::Matmul(m) if by_matvec(s, m) => {
                let run: Vec<usize> = (0..m.linears.len()).collect();
                let whole = bundle(s, m, &run).is_some_and(|(_, read)| in_pairs(m, read.rows));
                let exact = beside_experts(s.graph, m);
                (exact || s.precision == Precision::Fast) && runs(s.graph, m).len() == 1 && whole
            }
            Group::Matmul(m) => matmul::fits(s, m),
            Group::Experts(experts) => expert_matmul::fits(s, experts),
            Group::Attention(attention) => attention_matrix::fits(s, attention.attend),
            Group::Delta { .. } | Group::Norm(_) | Group::Embed { .. } | Group::Single(_) => false,
        };
    }
    match group {
        Group::Matmul(m) => tiled(s, m) || is_whole(s, m),
        Group::Experts(experts) => expert_matvec::fits(s, experts),
        Group::Attention(attention) => attention::fits(s, attention.attend),
        Group::Delta { .. } | Group::Norm(_) | Group::Embed { .. } => true,
        Group::Single(node) => match op(s.graph, *node) {
            // Its groups are whole blocks of a copy.
            Some(Op::GatedNorm(norm)) => (s.graph.shape(*node).cols / norm.groups).is_multiple_of(16),
            _ => false,
        },
    }
}

/// Whether a matmul is computed as for few rows in a step of many.
fn by_matvec(s: &Planner<'_>, m: &Matmul) -> bool {
    of_outputs(s, m) || beside_experts(s.graph, m)
}

/// Whether a matmul multiplies in f32 what experts are given besides, as a router does, or is a router with a norm of its own: it has few rows, and
/// normalises what it reads by itself, so that the one copy of that is others'.
pub fn beside_experts(g: &Graph, m: &Matmul) -> bool {
    let of_experts = |&user: &Node| matches!(op(g, user), Some(Op::ExpertLinear(_)));
    let routes =
        m.linears.iter().any(|&l| matches!(only_user(g, l).and_then(|n| op(g, n)), Some(Op::Route(_))));
    m.select.is_none()
        && m.then == Then::Keep
        && !weight(g, inputs(g, m.linears[0])[1]).format.integer
        && m.norm.is_some_and(|norm| routes || g.users(norm).iter().any(of_experts))
}

/// Whether a matmul of `rows` rows of weights can be one of pairs: the last pair may have one row where its sums are just kept.
fn in_pairs(m: &Matmul, rows: usize) -> bool {
    rows.is_multiple_of(2) || m.then == Then::Keep
}

/// Whether the weights of a matmul of few rows lie together, so that it is one matvec, or one for each format of its projections.
pub fn is_whole(s: &Planner<'_>, m: &Matmul) -> bool {
    let whole = |run: &Vec<usize>| bundle(s, m, run).is_some_and(|(_, read)| in_pairs(m, read.rows));
    let runs = runs(s.graph, m);
    runs.iter().all(whole) && (runs.len() == 1 || matches!(m.then, Then::Heads(_)))
}

/// Whether a matmul is of output rows, of which there are few in a step of many.
fn of_outputs(s: &Planner<'_>, m: &Matmul) -> bool {
    m.select.is_some() || s.graph.shape(m.linears[0]).rows == Rows::Outputs
}

/// Whether a matmul is computed in tiles, and not by matvecs.
pub fn tiled(s: &Planner<'_>, m: &Matmul) -> bool {
    match s.class {
        RowClass::One | RowClass::Few => false,
        RowClass::Several => !beside_experts(s.graph, m) && matmul::fits(s, m),
        RowClass::Many => !by_matvec(s, m),
    }
}

/// The copies that a group reads.
pub fn wanted(s: &Planner<'_>, group: &Group) -> Vec<Copy> {
    match group {
        Group::Matmul(m) => runs(s.graph, m).iter().filter_map(|run| read_copy(s, m, run)).collect(),
        Group::Experts(experts) if s.class == RowClass::Many => {
            expert_matmul::wanted(s, experts).into_iter().collect()
        }
        Group::Experts(experts) => expert_matvec::wanted(s, experts),
        Group::Norm(Norm { norm, add: Some(_), .. }) => {
            vec![Copy::new(*norm, inputs(s.graph, *norm)[0], CopyKind::F32)]
        }
        _ => Vec::new(),
    }
}

/// The values along with which a group that fits can write a copy.
pub fn writes_along(s: &Planner<'_>, group: &Group) -> Vec<Node> {
    // Copies of many rows have scales of whole rows.
    if s.class == RowClass::Many {
        return Vec::new();
    }
    if let Group::Experts(experts) = group {
        return expert_matvec::writes_along(s, experts);
    }
    let value = match group {
        Group::Experts(_) => None,
        Group::Matmul(m) if tiled(s, m) => None,
        Group::Matmul(_) if delta::apart(s, group).is_some() => None,
        Group::Matmul(m) => m.value().filter(|&v| s.graph.shape(v).rows == Rows::Step),
        Group::Attention(a) => Some(a.value()).filter(|_| attention::writes_copies(s, a.attend)),
        Group::Norm(norm) => Some(norm.value()).filter(|&v| s.graph.shape(v).rows == Rows::Step),
        Group::Delta { norm, .. } => Some(*norm),
        Group::Embed { embed, scale } => {
            Some(scale.unwrap_or(*embed)).filter(|_| kernels::plain(s, *embed).len() == 1)
        }
        Group::Single(node) => Some(*node).filter(|&n| kernels::plain(s, n).len() == 1),
    };
    value.into_iter().collect()
}

/// The launches of a group that fits.
pub fn launches(s: &Planner<'_>, copies: &Copies, group: &Group) -> Vec<Launch> {
    if let Some((matmul, node)) = delta::apart(s, group) {
        let product = launches(s, copies, &matmul);
        return product.into_iter().chain(kernels::plain(s, node)).collect();
    }
    match group {
        Group::Matmul(m) => match &m.then {
            Then::Heads(heads) => projections(s, m, heads),
            _ if tiled(s, m) => in_tiles(s, m),
            _ => matvecs(s, copies, m),
        },
        Group::Experts(experts) if s.class == RowClass::Many => expert_matmul::launches(s, experts),
        Group::Experts(experts) => expert_matvec::launches(s, copies, experts),
        Group::Attention(a) if s.class == RowClass::Many => {
            let gates = a.gates().into_iter();
            let gated = gates.flat_map(|gates| kernels::plain(s, gates.product));
            [attention_matrix::launch(s, a.attend)].into_iter().chain(gated).collect()
        }
        Group::Attention(a) => attention_launches(s, copies, a),
        Group::Delta { rule, norm } => delta::launches(s, copies, *rule, *norm),
        Group::Norm(norm @ Norm { add: Some(add), .. }) => vec![summed::norm_add(s, copies, norm, *add)],
        Group::Embed { embed, scale } => {
            let launches = kernels::embed(s, *embed, *scale);
            along(s, copies, scale.unwrap_or(*embed), launches)
        }
        Group::Norm(Norm { norm: node, .. }) | Group::Single(node) => {
            along(s, copies, *node, kernels::plain(s, *node))
        }
    }
}

/// Lets a launch that computes `value` by itself write the copy that belongs to it.
pub fn along(s: &Planner<'_>, copies: &Copies, value: Node, mut launches: Vec<Launch>) -> Vec<Launch> {
    if let [launch] = &mut launches[..] {
        writes_copy(s.graph, copies, value, launch);
    }
    launches
}

/// A matmul in tiles; its kernels multiply neither what they add to a residual nor what another value is gated by.
fn in_tiles(s: &Planner<'_>, m: &Matmul) -> Vec<Launch> {
    let behind = match m.then {
        Then::Add { add, scale: Some(scale), .. } => vec![scale, add],
        Then::Activate { node, part } if matches!(op(s.graph, node), Some(Op::Gate(_))) => {
            part.into_iter().chain([node]).collect()
        }
        _ => return matmul::launches(s, m),
    };
    let product = matmul::launches(s, &Matmul { then: Then::Keep, ..m.clone() });
    behind.into_iter().fold(product, |mut launches, node| {
        launches.extend(kernels::plain(s, node));
        launches
    })
}

/// The launches that make a copy of a value which is there.
pub fn feed(s: &Planner<'_>, copy: Copy) -> Vec<Launch> {
    if copy.kind.is_halves() {
        return matmul::halves(s, copy);
    }
    let (shape, cols) = (s.graph.shape(copy.source), copy.cols(s.graph));
    let constants = vec![
        ("COLS", cols as f64),
        ("STRIDE", shape.stride() as f64),
        ("SHARES", copy.shares as f64),
        ("WORKGROUP", WORKGROUP as f64),
    ];
    let each = copy.shares as u32 * (cols as u32).div_ceil(WORKGROUP);
    let extent = Extent::PerRow { rows: shape.rows, each };
    let mut launch = Launch {
        nodes: Vec::new(),
        dispatch: Dispatch { kernel: "copy", constants, extent },
        operands: vec![(0, Operand::Step), (1, Operand::Value(copy.source))],
        weight: None,
        slots: s.slots(None),
        arithmetic: Arithmetic::F32,
    };
    binds_copy(s.graph, copy, &mut launch);
    vec![launch]
}

/// Lets a launch that computes `value` write the copy that belongs to it, if there is one.
pub fn writes_copy(g: &Graph, copies: &Copies, value: Node, launch: &mut Launch) {
    match copies.along(value) {
        Some(copy) => binds_copy(g, copy, launch),
        None => launch.slots.copy = Some("none"),
    }
}

fn binds_copy(g: &Graph, copy: Copy, launch: &mut Launch) {
    launch.slots.copy = Some(copy.kind.stem());
    let words = copy.stride(g) as f64;
    launch.dispatch.constants.extend([("COPY_COLS", copy.cols(g) as f64), ("COPY_STRIDE", words)]);
    if copy.kind == CopyKind::I8 {
        launch.dispatch.constants.push(("COPY_NORM", copy.norm().is_some() as u32 as f64));
    }
    let norm = copy.norm().map_or(Operand::Nothing, |n| Operand::Vector(inputs(g, n)[1]));
    launch.operands.extend([(6, norm), (7, Operand::ActivationCopy(copy))]);
}

/// How the weights of a run are multiplied.
pub fn kind(s: &Planner<'_>, m: &Matmul, run: &[usize]) -> CopyKind {
    let w = weight(s.graph, inputs(s.graph, m.linears[run[0]])[1]);
    match kind_of(s, w, tiled(s, m)) {
        CopyKind::F16 if matmul_few::fits(s.caps) => CopyKind::F16Matrices,
        kind => kind,
    }
}

/// How weights are multiplied by matvecs, or in tiles of `many` rows.
pub fn kind_of(s: &Planner<'_>, w: &Weight, many: bool) -> CopyKind {
    // Weights in f32 are not to be rounded.
    if many && s.caps.matrix.is_some() && w.format.name != "F32" {
        return CopyKind::F16;
    }
    let steps = match s.class {
        RowClass::One => Steps::One,
        RowClass::Many if many => Steps::Many,
        _ => Steps::Few,
    };
    let integers = s.precision == Precision::Fast && s.caps.policy.in_integers(w.format, steps);
    match integers && w.cols.is_multiple_of(32) {
        true => CopyKind::I8,
        false => CopyKind::F32,
    }
}

/// The copy that a run reads, of a sum that it makes that of what is added; none where it reads a value as it is.
pub fn read_copy(s: &Planner<'_>, m: &Matmul, run: &[usize]) -> Option<Copy> {
    if let Some(sum) = summed::joined(s, m) {
        return Some(summed::copy(s.graph, sum));
    }
    let kind = kind(s, m, run);
    let x = m.x(s.graph);
    match (m.norm, kind) {
        (Some(_), CopyKind::F32) if beside_experts(s.graph, m) => None,
        (Some(norm), CopyKind::F16 | CopyKind::F16Matrices) => {
            Some(Copy::new(norm, inputs(s.graph, norm)[0], kind))
        }
        (Some(norm), _) => {
            let source = inputs(s.graph, m.select.unwrap_or(norm))[0];
            Some(Copy::new(norm, source, kind))
        }
        (None, CopyKind::I8 | CopyKind::F16 | CopyKind::F16Matrices) => Some(Copy::new(x, x, kind)),
        (None, CopyKind::F32) => None,
    }
}

/// The weights of a run, if they follow each other in one part of one matrix.
pub fn bundle(s: &Planner<'_>, m: &Matmul, run: &[usize]) -> Option<(usize, WeightRead)> {
    let linears: Vec<Node> = run.iter().map(|&i| m.linears[i]).collect();
    let (matrix, first) = place(s, &linears)?;
    let rows = linears.iter().map(|&l| weight(s.graph, inputs(s.graph, l)[1]).rows).sum();
    Some((first, WeightRead { matrix, part: 0, rows }))
}

/// Where the weights of linears are: which matrix, if it is in one part and theirs follow each other there, and the first of their rows.
pub fn place(s: &Planner<'_>, linears: &[Node]) -> Option<(usize, usize)> {
    let of = |&linear: &Node| s.layout.place.get(&inputs(s.graph, linear)[1]).copied();
    let (matrix, first) = linears.first().and_then(of)?;
    let mut row = first;
    for linear in linears {
        if of(linear) != Some((matrix, row)) {
            return None;
        }
        row += weight(s.graph, inputs(s.graph, *linear)[1]).all_rows();
    }
    (s.layout.matrices[matrix].parts() == 1).then_some((matrix, first))
}

/// The tiles of the matvecs over the weights of a run, of which a step takes one.
pub fn tiles(s: &Planner<'_>, m: &Matmul, run: &[usize]) -> Vec<Tile> {
    let weights = run.iter().map(|&i| weight(s.graph, inputs(s.graph, m.linears[i])[1]));
    let rows = weights.map(|w| w.rows).sum();
    let first = weight(s.graph, inputs(s.graph, m.linears[run[0]])[1]);
    match s.class {
        RowClass::One => vec![matvec::SINGLE],
        RowClass::Many if beside_experts(s.graph, m) => vec![ROUTER_TILE],
        _ => matvec::tiles(s.caps, first.format, [first.cols, rows], kind(s, m, run) == CopyKind::I8),
    }
}

/// A matvec over the weights of a run, without what becomes of its sums; its nodes are those in front of them.
pub fn product(s: &Planner<'_>, m: &Matmul, run: &[usize], pairs: u32, tile: Tile) -> Launch {
    let g = s.graph;
    let Some((first, read)) = bundle(s, m, run) else {
        panic!("the weights of a group that fits lie together")
    };
    let matrix = &s.layout.matrices[read.matrix];
    let kind = kind(s, m, run);
    let rows = if m.select.is_some() { Rows::Outputs } else { g.shape(m.linears[0]).rows };
    let outputs = match (m.select, rows) {
        (Some(_), _) => 2.0,
        (None, Rows::Outputs) => 1.0,
        _ => 0.0,
    };
    let mut constants = matvec_constants(matrix.cols, read.rows, first);
    let eps = eps(g, m.norm);
    constants.extend([
        ("SINGLE", (s.class == RowClass::One) as u32 as f64),
        ("OUTPUT_ROWS", outputs),
        ("PAIR_STEP", 1.0),
        ("EPS", eps.unwrap_or(0.0)),
    ]);
    let sum = summed::joined(s, m);
    let (mut operands, mut input) = (vec![(0, Operand::Step)], kind.stem());
    let stride = match (read_copy(s, m, run), m.norm) {
        _ if sum.is_some() => None,
        (Some(copy), _) => {
            operands.push((1, Operand::ActivationCopy(copy)));
            Some(copy.stride(g))
        }
        (None, Some(norm)) => {
            let [x, weight] = [inputs(g, norm)[0], inputs(g, norm)[1]];
            operands.extend([(1, Operand::Value(x)), (9, Operand::Vector(weight))]);
            input = "normed";
            Some(g.shape(x).stride())
        }
        (None, None) => {
            operands.push((1, Operand::Value(m.x(g))));
            Some(g.shape(m.x(g)).stride())
        }
    };
    let name = if kind == CopyKind::I8 { "X_STRIDE" } else { "STRIDE" };
    constants.extend(stride.map(|stride| (name, stride as f64)));
    let norm = match (eps, input) {
        (None, _) => 0.0,
        (Some(_), "normed") if tile.rows == 1 => 2.0,
        (Some(_), _) => 1.0,
    };
    constants.push(("NORM", norm));
    let extent = Extent::PerRow { rows, each: 1 };
    let mut dispatch = Dispatch { kernel: "matvec", constants, extent };
    let (format, cols) = (matrix.format, matrix.cols);
    match sum {
        Some(_) => matvec::shape_of_made(s.caps, format, [cols, read.rows], pairs, &mut dispatch),
        None => matvec::shape(s.caps, format, cols, read.rows, [pairs, 1], tile, &mut dispatch, rows),
    }
    let slots = Slots { input: Some(input), ..s.slots(Some(matrix.format.wgsl)) };
    let mut launch = Launch {
        nodes: Vec::new(),
        dispatch,
        operands,
        weight: Some(read),
        slots,
        arithmetic: if kind == CopyKind::I8 { Arithmetic::Int8 } else { Arithmetic::F32 },
    };
    if let Some(sum) = sum {
        summed::read(s, m, run, sum, &mut launch);
    }
    launch
}

/// The biases of a group's linears, one behind the other, and whether there are any.
pub fn biases(g: &Graph, m: &Matmul) -> (Operand, f64) {
    biases_of(g, &m.linears)
}

/// The biases of linears whose weights lie together.
pub fn biases_of(g: &Graph, linears: &[Node]) -> (Operand, f64) {
    let bias = |&l: &Node| bias(g, l);
    match linears {
        all if all.iter().all(|l| bias(l).is_none()) => (Operand::Nothing, 0.0),
        [one] => (bias(one).map_or(Operand::Nothing, Operand::Vector), 1.0),
        all => (Operand::Biases(all[0]), 1.0),
    }
}

/// The launches of a group of one run: one for each tile, of which a step runs one.
fn matvecs(s: &Planner<'_>, copies: &Copies, m: &Matmul) -> Vec<Launch> {
    let run: Vec<usize> = (0..m.linears.len()).collect();
    tiles(s, m, &run).into_iter().map(|tile| matvec(s, copies, m, &run, tile)).collect()
}

/// Pairs of rows that a workgroup of a matmul's matvec sums up, at least.
pub fn pairs(g: &Graph, m: &Matmul) -> u32 {
    match m.then {
        Then::Glu(_) => GLU_PAIRS,
        _ if beside_experts(g, m) => ROUTER_PAIRS,
        _ => PAIRS,
    }
}

fn matvec(s: &Planner<'_>, copies: &Copies, m: &Matmul, run: &[usize], tile: Tile) -> Launch {
    let g = s.graph;
    let mut launch = product(s, m, run, pairs(g, m), tile);
    launch.nodes.extend(m.nodes());
    let (bias, has_bias) = biases(g, m);
    let Some(value) = m.value() else { panic!("a group of one run has one value") };
    let stride = g.shape(value).stride() as f64;
    launch.operands.extend([(2, Operand::Value(value)), (3, bias)]);
    launch.dispatch.constants.extend([("BIAS", has_bias), ("OUT_STRIDE", stride)]);
    launch.slots.output = Some(match &m.then {
        Then::Keep | Then::Heads(_) => {
            launch.dispatch.constants.push(("FIRST_OUT", 0.0));
            "plain"
        }
        Then::Convolve(node) => {
            delta::convolve(s, *node, &mut launch);
            "convolve"
        }
        Then::Add { residual, scale, .. } => {
            launch.operands.push((4, Operand::Value(*residual)));
            let (mut factor, mut gate_stride) = (1.0, 0);
            match scale.and_then(|scale| Some((op(g, scale)?, inputs(g, scale)[0]))) {
                Some((Op::Scale(scale), _)) => factor = scale.factor,
                Some((Op::Gate(_), gate)) => {
                    gate_stride = g.shape(gate).stride();
                    in_place_of_biases(&mut launch, Operand::Value(gate));
                }
                _ => {}
            }
            launch
                .dispatch
                .constants
                .extend([("FACTOR", factor as f64), ("GATE_STRIDE", gate_stride as f64)]);
            "add"
        }
        Then::Activate { node, .. } | Then::Glu(node) => {
            let (act, gated) = match op(g, *node) {
                Some(Op::Gate(gate)) => (gate.act, Some(inputs(g, *node)[1])),
                Some(Op::Unary(unary)) => (unary.act, None),
                _ => panic!("an activation is a gate or a function"),
            };
            launch.dispatch.constants.push(("ACT", activation(act)));
            if let Then::Glu(_) = m.then {
                let rows = weight(g, inputs(g, m.linears[0])[1]).rows;
                replace(&mut launch.dispatch, "PAIR_STEP", rows as f64);
                "gate"
            } else {
                let part = if let Then::Activate { part, .. } = m.then { part } else { None };
                let (of, first) = match part.and_then(|part| Some((op(g, part)?, inputs(g, part)[0]))) {
                    Some((Op::Part(part), whole)) => (Some(whole), part.first),
                    _ => (gated, 0),
                };
                let stride = of.map_or(0, |of| g.shape(of).stride());
                launch
                    .dispatch
                    .constants
                    .extend([("GATE_STRIDE", stride as f64), ("FIRST_GATE", first as f64)]);
                if let Some(of) = of {
                    in_place_of_biases(&mut launch, Operand::Value(of));
                }
                "activation"
            }
        }
    });
    writes_copy(g, copies, value, &mut launch);
    launch
}

/// Lets a matvec read something else where its biases would be, of which there are none: no adapter has to have a buffer more.
pub fn in_place_of_biases(launch: &mut Launch, operand: Operand) {
    launch.operands.retain(|(binding, _)| *binding != 3);
    launch.operands.push((3, operand));
}
