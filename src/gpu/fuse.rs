//! Which nodes one dispatch computes together, in decode: one table of patterns. A fusion never changes what a node means: values
//! that others read are written as before, those in between are just not kept. The CPU still computes the nodes one by one, so
//! `check` holds fused kernels to them.
//!
//! Nearly all of them are matvecs. A norm in front of one disappears: who computes the norm's input also writes its *copy*,
//! weighted and maybe in int8, and the matvec divides by the root mean square at its end (`wgsl/copy/`, `wgsl/input/`).

use crate::backend::Precision;
use crate::gpu::attention;
use crate::gpu::dispatch::{Dispatch, Extent};
use crate::gpu::kernels::{activation, matvec_constants, plain};
use crate::gpu::kv_layout;
use crate::gpu::matvec;
use crate::gpu::plan::{Launch, Operand, Planner, RowClass, WeightRead, replace};
use crate::gpu::weights::weight;
use crate::graph::{Graph, Kind, Node, Rows};
use crate::ops::{Op, Pairing};

/// A pattern that begins with a node.
struct Fusion {
    /// Whether it may begin with a node of this op.
    first: fn(&Op) -> bool,
    /// The dispatches of the whole pattern, if it is there and its weights are where it needs them.
    plan: fn(&Planner<'_>, Node) -> Option<Vec<Launch>>,
}

/// All patterns; the first that fits is taken.
const FUSIONS: &[Fusion] = &[
    Fusion { first: |op| matches!(op, Op::Embed(_)), plan: embedding },
    Fusion { first: |op| matches!(op, Op::RmsNorm(_)), plan: |s, n| heads(s, &Heads::find(s.graph, n)?) },
    Fusion { first: |op| matches!(op, Op::RmsNorm(_)), plan: |s, n| gated(s, &Gated::find(s.graph, n)?) },
    Fusion { first: |op| matches!(op, Op::Select(_)), plan: |s, n| output(s, &Output::find(s.graph, n)?) },
    Fusion { first: |op| matches!(op, Op::Attend(_)), plan: attention::one_row },
    Fusion {
        first: |op| matches!(op, Op::Linear(_)),
        plan: |s, n| residual(s, &Residual::find(s.graph, n)?),
    },
];

/// The dispatches of the first fusion that begins with `node`.
pub fn first_match(s: &Planner<'_>, node: Node) -> Option<Vec<Launch>> {
    if s.class != RowClass::One {
        return None;
    }
    let op = op(s.graph, node)?;
    FUSIONS.iter().filter(|f| (f.first)(op)).find_map(|f| (f.plan)(s, node))
}

/// Weights that some fusion reads as one matrix.
pub fn bundles(graph: &Graph) -> Vec<Vec<Node>> {
    let mut bundles = Vec::new();
    for (node, _) in graph.nodes() {
        if let Some(heads) = Heads::find(graph, node) {
            bundles.extend(
                heads.runs(graph).into_iter().map(|run| run.iter().map(|&i| heads.weights[i]).collect()),
            );
        }
        if let Some(gated) = Gated::find(graph, node) {
            bundles.push(gated.weights.to_vec());
        }
    }
    // A tensor that two fusions share, or that is itself shared, stays by itself.
    let mut seen: Vec<Node> = Vec::new();
    bundles.retain(|bundle: &Vec<Node>| {
        let fresh = bundle.iter().all(|n| !seen.contains(n));
        seen.extend(bundle);
        fresh
    });
    bundles
}

/// Norm, queries, keys and values, their positions, and the writing of keys and values.
struct Heads {
    norm: Node,
    /// Of queries, keys and values.
    weights: [Node; 3],
    linears: [Node; 3],
    /// The rotary positions of queries and keys, if the model has them.
    ropes: Option<[Node; 2]>,
    stores: [Node; 2],
}

impl Heads {
    fn find(g: &Graph, norm: Node) -> Option<Heads> {
        let linears: [Node; 3] = normed_linears(g, norm)?.try_into().ok()?;
        let [q, k, v] = linears;
        let store = |n: Node| only_user(g, n).filter(|&u| matches!(op(g, u), Some(Op::Store(_))));
        let rope = |n: Node| only_user(g, n).filter(|&u| matches!(op(g, u), Some(Op::Rope(_))));
        let ropes = match (rope(q), rope(k)) {
            (Some(q), Some(k)) => Some([q, k]),
            (None, None) => None,
            _ => return None,
        };
        if let Some([rope_q, rope_k]) = ropes {
            // Both by the same table, in pairs of neighbours, which are also the pairs that a cache is written in.
            let shape = |n: Node| match g.entry(n).op() {
                Some((Op::Rope(rope), inputs)) => Some((rope.0, &inputs[1..])),
                _ => None,
            };
            let (of_q, of_k) = (shape(rope_q)?, shape(rope_k)?);
            if of_q != of_k || of_q.0.pairing != Pairing::Neighbours {
                return None;
            }
        }
        let stores = [store(ropes.map_or(k, |r| r[1]))?, store(v)?];
        let weights = linears.map(|l| inputs(g, l)[1]);
        Some(Heads { norm, weights, linears, ropes, stores })
    }

    /// Neighbours among queries, keys and values that are stored in one format and can be one matrix.
    fn runs(&self, g: &Graph) -> Vec<Vec<usize>> {
        let format = |i: usize| weight(g, self.weights[i]).format.id;
        let mut runs = vec![vec![0]];
        for i in 1..3 {
            match runs.last_mut() {
                Some(run) if format(run[0]) == format(i) => run.push(i),
                _ => runs.push(vec![i]),
            }
        }
        runs
    }
}

fn heads(s: &Planner<'_>, h: &Heads) -> Option<Vec<Launch>> {
    let g = s.graph;
    let kind = kind(s, &h.weights)?;
    let mut launches = feed(s, h.norm, kind);
    let rows = h.weights.map(|w| weight(g, w).rows);
    let keys = inputs(g, h.stores[0])[1];
    let values = inputs(g, h.stores[1])[1];
    for run in h.runs(g) {
        let (mut dispatch, matrix) = bundle(s, &run.iter().map(|&i| h.weights[i]).collect::<Vec<_>>(), 8)?;
        let has = |i: usize| run.contains(&i);
        let of = |i: usize| if has(i) { rows[i] as f64 } else { 0.0 };
        dispatch.constants.extend([("Q_ROWS", of(0)), ("K_ROWS", of(1))]);
        dispatch.constants.extend(kv_layout::constants(g, keys));
        let mut turns = Operand::Nothing;
        let mut rotary = [("HEAD_DIM", 2.0), ("ROTARY", 0.0)];
        if let Some([rope, _]) = h.ropes
            && let Some(Op::Rope(op)) = op(g, rope)
        {
            rotary = [("HEAD_DIM", op.0.head_dim as f64), ("ROTARY", op.0.rotary as f64)];
            turns = Operand::Table(rope);
        }
        dispatch.constants.extend(rotary);
        let q = h.ropes.map_or(h.linears[0], |r| r[0]);
        let unwritten = Operand::Unwritten(h.linears[run[0]]);
        let written = |i: usize, operand: Operand| if has(i) { operand } else { unwritten };
        let mut operands = reads(h.norm);
        operands.extend([
            (2, written(0, Operand::Value(q))),
            (3, turns),
            (4, written(1, Operand::Cache(keys))),
            (5, written(2, Operand::Cache(values))),
            (8, Operand::Pages),
        ]);
        let mut nodes = vec![h.norm];
        for &i in &run {
            nodes.push(h.linears[i]);
            nodes.extend(h.ropes.filter(|_| i < 2).map(|r| r[i]));
            nodes.extend((i > 0).then(|| h.stores[i - 1]));
        }
        nodes.sort_unstable();
        normed(s, h.norm, &mut dispatch);
        launches.push(finish(s, nodes, dispatch, operands, matrix, kind, "store", None));
    }
    Some(launches)
}

/// Norm, gate and up, and the gate's activation.
struct Gated {
    norm: Node,
    /// Of gate and up.
    weights: [Node; 2],
    linears: [Node; 2],
    gate: Node,
}

impl Gated {
    fn find(g: &Graph, norm: Node) -> Option<Gated> {
        let linears: [Node; 2] = normed_linears(g, norm)?.try_into().ok()?;
        let gate = only_user(g, linears[0])?;
        if !matches!(op(g, gate), Some(Op::Gate(_))) || inputs(g, gate) != linears {
            return None;
        }
        let weights = linears.map(|l| inputs(g, l)[1]);
        let [a, b] = weights.map(|w| weight(g, w));
        ((a.format.id, a.rows) == (b.format.id, b.rows)).then_some(Gated { norm, weights, linears, gate })
    }
}

fn gated(s: &Planner<'_>, f: &Gated) -> Option<Vec<Launch>> {
    let kind = kind(s, &f.weights)?;
    let mut launches = feed(s, f.norm, kind);
    let (mut dispatch, matrix) = bundle(s, &f.weights, 16)?;
    let Some(Op::Gate(gate)) = op(s.graph, f.gate) else { return None };
    dispatch.constants.push(("ACT", activation(gate.act)));
    replace(&mut dispatch, "PAIR_STEP", weight(s.graph, f.weights[0]).rows as f64);
    let mut operands = reads(f.norm);
    operands.push((2, Operand::Value(f.gate)));
    let nodes = vec![f.norm, f.linears[0], f.linears[1], f.gate];
    normed(s, f.norm, &mut dispatch);
    launches.push(finish(s, nodes, dispatch, operands, matrix, kind, "gate", Some(f.gate)));
    Some(launches)
}

/// The one row asked for, the last norm, and the output.
struct Output {
    select: Node,
    norm: Node,
    linear: Node,
    weight: Node,
}

impl Output {
    fn find(g: &Graph, select: Node) -> Option<Output> {
        if !matches!(op(g, select), Some(Op::Select(_))) {
            return None;
        }
        let norm = only_user(g, select)?;
        let [linear] = normed_linears(g, norm)?[..] else { return None };
        Some(Output { select, norm, linear, weight: inputs(g, linear)[1] })
    }
}

fn output(s: &Planner<'_>, o: &Output) -> Option<Vec<Launch>> {
    let kind = kind(s, &[o.weight])?;
    let mut launches = feed(s, o.norm, kind);
    let (mut dispatch, matrix) = bundle(s, &[o.weight], 8)?;
    if let Extent::PerRow { each, .. } = dispatch.extent {
        dispatch.extent = Extent::PerRow { rows: Rows::Outputs, each };
    }
    let stride = s.graph.shape(o.linear).stride() as f64;
    dispatch.constants.extend([("FIRST_OUT", 0.0), ("OUT_STRIDE", stride), ("BIAS", 0.0)]);
    let mut operands = reads(o.norm);
    operands.extend([(2, Operand::Value(o.linear)), (3, Operand::Nothing)]);
    normed(s, o.norm, &mut dispatch);
    launches.push(finish(
        s,
        vec![o.select, o.norm, o.linear],
        dispatch,
        operands,
        matrix,
        kind,
        "plain",
        None,
    ));
    Some(launches)
}

/// A linear and the residual that it is added to.
struct Residual {
    linear: Node,
    weight: Node,
    bias: Option<Node>,
    x: Node,
    add: Node,
    residual: Node,
}

impl Residual {
    fn find(g: &Graph, linear: Node) -> Option<Residual> {
        if !matches!(op(g, linear), Some(Op::Linear(_))) {
            return None;
        }
        let add = only_user(g, linear)?;
        let residual = match (op(g, add)?, inputs(g, add)) {
            (Op::Add(_), [a, b]) if *b == linear => *a,
            (Op::Add(_), [a, b]) if *a == linear => *b,
            _ => return None,
        };
        let ins = inputs(g, linear);
        Some(Residual { linear, weight: ins[1], bias: ins.get(2).copied(), x: ins[0], add, residual })
    }
}

fn residual(s: &Planner<'_>, a: &Residual) -> Option<Vec<Launch>> {
    let kind = kind(s, &[a.weight])?;
    let mut launches = Vec::new();
    let mut operands = if kind == "i8" {
        launches = feed(s, a.x, kind);
        reads(a.x)
    } else {
        vec![(1, Operand::Value(a.x))]
    };
    let (mut dispatch, matrix) = bundle(s, &[a.weight], 8)?;
    dispatch.constants.push(("BIAS", a.bias.is_some() as u32 as f64));
    operands.extend([
        (2, Operand::Value(a.add)),
        (3, a.bias.map_or(Operand::Nothing, Operand::Vector)),
        (4, Operand::Value(a.residual)),
    ]);
    launches.push(finish(s, vec![a.linear, a.add], dispatch, operands, matrix, kind, "add", Some(a.add)));
    Some(launches)
}

/// How weights are multiplied: as int8 where all of their formats can and the precision allows it.
fn kind(s: &Planner<'_>, weights: &[Node]) -> Option<&'static str> {
    let integer = |&w: &Node| {
        let w = weight(s.graph, w);
        w.format.integer && s.precision == Precision::Fast && w.cols.is_multiple_of(32)
    };
    let first = integer(&weights[0]);
    // A copy is of one kind.
    weights.iter().all(|w| integer(w) == first).then_some(if first { "i8" } else { "f32" })
}

/// One matvec over weights that follow each other in one part of one matrix.
fn bundle(s: &Planner<'_>, weights: &[Node], pairs: u32) -> Option<(Dispatch, WeightRead)> {
    let (at, first) = *s.layout.place.get(&weights[0])?;
    let matrix = &s.layout.matrices[at];
    let mut rows = 0;
    for node in weights {
        if s.layout.place.get(node) != Some(&(at, first + rows)) {
            return None;
        }
        rows += weight(s.graph, *node).rows;
    }
    if matrix.parts() != 1 || !rows.is_multiple_of(2) {
        return None;
    }
    let mut constants = matvec_constants(matrix.cols, rows, first);
    constants.extend([
        ("SINGLE", 1.0),
        ("OUTPUT_ROWS", 0.0),
        ("PAIR_STEP", 1.0),
        ("NORM", 0.0),
        ("EPS", 0.0),
    ]);
    let mut dispatch =
        Dispatch { kernel: "matvec", constants, extent: Extent::PerRow { rows: Rows::Step, each: 1 } };
    matvec::shape(s.caps, matrix.format, matrix.cols, rows, pairs, &mut dispatch, Rows::Step);
    Some((dispatch, WeightRead { matrix: at, part: 0, rows }))
}

/// What a matvec multiplies: the copy of `of`.
fn reads(of: Node) -> Vec<(u32, Operand)> {
    vec![(1, Operand::ActivationCopy(of))]
}

/// The embedding of one row, and the copy for the norm behind it.
fn embedding(s: &Planner<'_>, node: Node) -> Option<Vec<Launch>> {
    let (of, kind) = copy_of(s, node)?;
    let mut launches = plain(s, node);
    let [p] = &mut launches[..] else { return None };
    p.slots.copy = Some(kind);
    copy_operands(s.graph, of, kind, s.graph.shape(node).cols, &mut p.dispatch, &mut p.operands);
    Some(launches)
}

/// The copy of `of`, unless whoever computes its source writes it along the way.
fn feed(s: &Planner<'_>, of: Node, kind: &'static str) -> Vec<Launch> {
    let source = source(s.graph, of);
    if emits(s, source) {
        return Vec::new();
    }
    let cols = s.graph.shape(source).cols;
    let mut dispatch = Dispatch {
        kernel: "copy",
        constants: vec![("COLS", cols as f64), ("WORKGROUP", 64.0)],
        extent: Extent::PerRow { rows: Rows::Step, each: (cols as u32).div_ceil(64) },
    };
    let mut operands = vec![(0, Operand::Value(source))];
    copy_operands(s.graph, of, kind, cols, &mut dispatch, &mut operands);
    let slots = crate::gpu::link::Slots { copy: Some(kind), ..s.slots(None) };
    vec![Launch { nodes: Vec::new(), dispatch, operands, weight: None, slots }]
}

/// The value that a copy is made from: the input of a norm, before the choice of a row; or the value itself.
fn source(g: &Graph, of: Node) -> Node {
    if !is_norm(g, of) {
        return of;
    }
    let x = inputs(g, of)[0];
    if matches!(op(g, x), Some(Op::Select(_))) { inputs(g, x)[0] } else { x }
}

/// Whether a fused kernel computes `node` and writes its copy, if it has one, along the way.
fn emits(s: &Planner<'_>, node: Node) -> bool {
    let g = s.graph;
    match op(g, node) {
        Some(Op::Embed(_)) => embedding(s, node).is_some(),
        Some(Op::Attend(_)) => {
            attention::one_row(s, node).is_some_and(|all| all.iter().any(|p| p.slots.copy != Some("none")))
        }
        Some(Op::Add(_)) => inputs(g, node)
            .iter()
            .any(|&l| Residual::find(g, l).is_some_and(|a| a.add == node && residual_fits(s, &a))),
        Some(Op::Gate(_)) => {
            let norm = inputs(g, node).first().and_then(|&l| inputs(g, l).first().copied());
            norm.and_then(|n| Gated::find(g, n))
                .is_some_and(|f| kind(s, &f.weights).is_some() && bundle(s, &f.weights, 16).is_some())
        }
        _ => false,
    }
}

fn residual_fits(s: &Planner<'_>, a: &Residual) -> bool {
    kind(s, &[a.weight]).is_some() && bundle(s, &[a.weight], 8).is_some()
}

/// What reads a copy made from `node`: the norm or the value that the copy is of, and the copy's kind.
pub fn copy_of(s: &Planner<'_>, node: Node) -> Option<(Node, &'static str)> {
    let g = s.graph;
    for user in users(g, node) {
        let norm = if matches!(op(g, user), Some(Op::Select(_))) { only_user(g, user)? } else { user };
        if is_norm(g, norm) {
            if let Some(h) = Heads::find(g, norm) {
                let fits = h.runs(g).iter().all(|run| {
                    bundle(s, &run.iter().map(|&i| h.weights[i]).collect::<Vec<_>>(), 8).is_some()
                });
                return kind(s, &h.weights).filter(|_| fits).map(|k| (norm, k));
            }
            if let Some(f) = Gated::find(g, norm) {
                return kind(s, &f.weights)
                    .filter(|_| bundle(s, &f.weights, 16).is_some())
                    .map(|k| (norm, k));
            }
            if let Some(o) = Output::find(g, user) {
                return kind(s, &[o.weight])
                    .filter(|_| bundle(s, &[o.weight], 8).is_some())
                    .map(|k| (norm, k));
            }
        }
        if let Some(a) = Residual::find(g, user)
            && a.x == node
            && residual_fits(s, &a)
        {
            return kind(s, &[a.weight]).filter(|k| *k == "i8").map(|k| (node, k));
        }
    }
    None
}

pub fn copy_operands(
    g: &Graph,
    of: Node,
    kind: &'static str,
    cols: usize,
    dispatch: &mut Dispatch,
    operands: &mut Vec<(u32, Operand)>,
) {
    let norm = is_norm(g, of).then(|| inputs(g, of)[1]);
    dispatch.constants.push(("COPY_COLS", cols as f64));
    // In f32 only what is normalised next has a copy.
    if kind == "i8" {
        dispatch.constants.push(("COPY_NORM", norm.is_some() as u32 as f64));
    }
    operands.extend([(6, norm.map_or(Operand::Nothing, Operand::Vector)), (7, Operand::ActivationCopy(of))]);
}

/// The norm's own number, for the matvec that divides by the root mean square.
fn normed(s: &Planner<'_>, norm: Node, dispatch: &mut Dispatch) {
    if let Some(Op::RmsNorm(op)) = op(s.graph, norm) {
        replace(dispatch, "NORM", 1.0);
        replace(dispatch, "EPS", op.eps as f64);
    }
}

/// Puts a fused matvec together; `value` is what its output kernel writes a copy of, if anyone reads one.
#[allow(clippy::too_many_arguments)]
fn finish(
    s: &Planner<'_>,
    nodes: Vec<Node>,
    mut dispatch: Dispatch,
    mut operands: Vec<(u32, Operand)>,
    matrix: WeightRead,
    kind: &'static str,
    output: &'static str,
    value: Option<Node>,
) -> Launch {
    let mut copy = "none";
    if let Some(value) = value
        && let Some((of, kind)) = copy_of(s, value)
    {
        copy = kind;
        copy_operands(s.graph, of, kind, s.graph.shape(value).cols, &mut dispatch, &mut operands);
    }
    let held = &s.layout.matrices[matrix.matrix];
    if kind == "f32" {
        dispatch.constants.push(("STRIDE", held.cols.next_multiple_of(8) as f64));
    }
    let slots = crate::gpu::link::Slots {
        input: Some(kind),
        output: Some(output),
        copy: Some(copy),
        ..s.slots(Some(held.format.wgsl))
    };
    operands.push((0, Operand::Step));
    operands.sort_unstable_by_key(|(binding, _)| *binding);
    Launch { nodes, dispatch, operands, weight: Some(matrix), slots }
}

fn op(g: &Graph, node: Node) -> Option<&Op> {
    g.entry(node).op().map(|(op, _)| op)
}

/// Whether a node is an RMS norm of whole rows with a weight.
fn is_norm(g: &Graph, node: Node) -> bool {
    matches!(op(g, node), Some(Op::RmsNorm(norm)) if norm.groups == 1 && inputs(g, node).len() == 2)
}

fn inputs(g: &Graph, node: Node) -> &[Node] {
    match &g.entry(node).kind {
        Kind::Op { inputs, .. } => inputs,
        _ => &[],
    }
}

/// The nodes that read `node`.
fn users(g: &Graph, node: Node) -> impl Iterator<Item = Node> {
    g.users(node).iter().copied()
}

fn only_user(g: &Graph, node: Node) -> Option<Node> {
    let mut users = users(g, node);
    let user = users.next()?;
    (users.next().is_none() && node != g.output()).then_some(user)
}

/// The linears without bias that are all who read an RMS norm.
fn normed_linears(g: &Graph, norm: Node) -> Option<Vec<Node>> {
    if !is_norm(g, norm) || norm == g.output() {
        return None;
    }
    let linears: Vec<Node> = users(g, norm).collect();
    let plain = |&l: &Node| {
        matches!(op(g, l), Some(Op::Linear(_))) && inputs(g, l).len() == 2 && inputs(g, l)[0] == norm
    };
    linears.iter().all(plain).then_some(linears)
}
