//! From a graph to dispatches, as plain data: which kernel computes which nodes, with which numbers, from which operands.
//! Nothing here needs a GPU.

use crate::backend::Precision;
use crate::formats::Format;
use crate::gpu::device::Caps;
use crate::gpu::fuse;
use crate::gpu::kv_layout;
use crate::gpu::link::Slots;
use crate::gpu::matvec;
use crate::gpu::weights::Layout;
use crate::graph::{Graph, Kind, Node, Rows, Shape};
use crate::ops::{Dispatch, Extent};

/// For how many rows a plan is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowClass {
    /// One: decode.
    One,
    /// Up to [`FEW`]: several sequences.
    Few,
    /// Any number: prefill.
    Many,
}

/// Rows of the class between one and many.
pub const FEW: usize = 64;

impl RowClass {
    /// All of them, in the order of their discriminants.
    pub const ALL: [RowClass; 3] = [RowClass::One, RowClass::Few, RowClass::Many];
}

/// What a kernel's binding in group 0 is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operand {
    /// The step: its rows and what is asked of them.
    Step,
    /// An activation.
    Value(Node),
    /// A weight of one row.
    Vector(Node),
    /// The table of the op of this node.
    Table(Node),
    /// A cache.
    Cache(Node),
    /// The pages of all slots.
    Pages,
    /// A value as the next matvec multiplies it (`wgsl/copy/`); of a norm's value this stands in for the value itself.
    ActivationCopy(Node),
    /// What attention found of each span of positions, before the spans are put together.
    Partials(Node),
    /// Something that the kernel's constants keep it from reading.
    Nothing,
    /// Something that the kernel's constants keep it from writing, named by the first node that the dispatch computes with a weight:
    /// each dispatch has its own, for if they shared one, those that have nothing else in common would wait for each other.
    Unwritten(Node),
}

/// One dispatch.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The nodes that it computes; empty for all but the last part of a split one.
    pub nodes: Vec<Node>,
    /// Kernel, constants, workgroups.
    pub dispatch: Dispatch,
    /// Group 0: binding and operand.
    pub operands: Vec<(u32, Operand)>,
    /// Group 1: the planes of this part of this matrix.
    pub weight: Option<(usize, usize)>,
    /// What the slots stand for.
    pub slots: Slots,
}

impl Launch {
    /// The kernel and what is in its slots, for people.
    pub fn label(&self) -> String {
        let slots = [self.slots.input, self.slots.output];
        slots
            .into_iter()
            .flatten()
            .fold(self.dispatch.kernel.to_string(), |label, slot| format!("{label} {slot}"))
    }
}

/// What a plan is made for.
pub struct Planner<'a> {
    /// The graph.
    pub graph: &'a Graph,
    /// How the weights are laid out.
    pub layout: &'a Layout,
    /// What the device offers.
    pub caps: &'a Caps,
    /// For how many rows.
    pub class: RowClass,
    /// Whether there is one slot, whose pages lie in order.
    pub in_order: bool,
    /// How to compute.
    pub precision: Precision,
}

impl Planner<'_> {
    /// What the slots stand for in a kernel that reads weights of `format`.
    pub fn slots(&self, weight: Option<&'static str>) -> Slots {
        let cache = match self.precision {
            Precision::Fast => "f16",
            Precision::F32 => "f32",
        };
        Slots { weight, input: None, output: None, copy: None, cache, subgroups: self.caps.subgroups }
    }
}

/// The dispatches of a step, in order. `unfused`: every node by one of its own.
pub fn plan(s: &Planner<'_>, unfused: bool) -> Vec<Launch> {
    let mut launches = Vec::new();
    let mut done = vec![false; s.graph.len()];
    for (node, entry) in s.graph.nodes() {
        if entry.op().is_none() || done[node.0] {
            continue;
        }
        let fused = if unfused { None } else { fuse::first_match(s, node) };
        let new = fused.unwrap_or_else(|| plain(s, node));
        for node in new.iter().flat_map(|p| &p.nodes) {
            done[node.0] = true;
        }
        launches.extend(new);
    }
    launches
}

/// The dispatches that compute one node alone: more than one where its weight is in parts.
pub fn plain(s: &Planner<'_>, node: Node) -> Vec<Launch> {
    let Some((op, inputs)) = s.graph.entry(node).op() else { return Vec::new() };
    if op.name() == "linear" {
        return linear(s, node);
    }
    let shapes: Vec<Shape> = inputs.iter().map(|&n| s.graph.shape(n)).collect();
    let mut dispatch = op.dispatch(&shapes, s.graph.shape(node));
    if let Some(&cache) = inputs.iter().find(|&&n| matches!(s.graph.entry(n).kind, Kind::Cache(_))) {
        dispatch.constants.extend(kv_layout::constants(s.graph, cache));
        dispatch.constants.push(("KEYS", kv_layout::holds_keys(s.graph, cache) as u32 as f64));
    }
    let mut operands = vec![Operand::Step];
    for i in op.bound_inputs(inputs.len()) {
        if op.matrix_input() != Some(i) {
            operands.push(operand(s.graph, inputs[i]));
        }
    }
    match op.name() {
        "embed" => {
            operands.push(Operand::Value(node));
            let mut launches = parts(s, inputs[0], node, |held| {
                let mut dispatch = dispatch.clone();
                dispatch.constants.push(("FIRST_ROW", held.first as f64));
                dispatch.constants.push(("ROWS", held.rows as f64));
                (dispatch, in_order(&operands))
            });
            launches.iter_mut().for_each(|p| p.slots.copy = Some("none"));
            launches
        }
        name => {
            if name == "rope" {
                operands.push(Operand::Table(node));
            }
            if name == "attend" {
                dispatch.constants.push(("FOURS", constant(&dispatch, "HEAD_DIM") / 4.0));
            }
            if name != "store" {
                operands.push(Operand::Value(node));
            }
            if matches!(name, "rms_norm" | "layer_norm") {
                dispatch.constants.push(("WORKGROUP", s.caps.invocations.min(256) as f64));
            }
            let mut operands = in_order(&operands);
            if matches!(name, "store" | "attend") {
                operands.push((8, Operand::Pages));
            }
            vec![Launch { nodes: vec![node], dispatch, operands, weight: None, slots: s.slots(None) }]
        }
    }
}

/// Bindings from 0 on.
fn in_order(operands: &[Operand]) -> Vec<(u32, Operand)> {
    (0..).zip(operands.iter().copied()).collect()
}

/// A linear alone: by matvec where there are few rows, by matmul where there are many.
fn linear(s: &Planner<'_>, node: Node) -> Vec<Launch> {
    let Some((op, inputs)) = s.graph.entry(node).op() else { return Vec::new() };
    let shapes: Vec<Shape> = inputs.iter().map(|&n| s.graph.shape(n)).collect();
    let out = s.graph.shape(node);
    let few = s.class == RowClass::One || out.rows == Rows::Outputs;
    let bias = inputs.get(2).map_or(Operand::Nothing, |&b| Operand::Vector(b));
    let mut launches = parts(s, inputs[1], node, |held| {
        let mut dispatch = op.dispatch(&shapes, out);
        replace(&mut dispatch, "N", held.rows as f64);
        dispatch.constants.extend([("FIRST_OUT", held.first as f64), ("FIRST_ROW", held.at as f64)]);
        if few {
            matvec::shape(s.caps, held.format, shapes[0].cols, held.rows, 8, &mut dispatch, out.rows);
            let (single, outputs) = (s.class == RowClass::One, out.rows == Rows::Outputs);
            dispatch
                .constants
                .extend([("SINGLE", single as u32 as f64), ("OUTPUT_ROWS", outputs as u32 as f64)]);
            let operands = [Operand::Step, Operand::Value(inputs[0]), Operand::Value(node), bias];
            return (dispatch, in_order(&operands));
        }
        if let Extent::Tiles { rows, tile, .. } = dispatch.extent {
            dispatch.extent = Extent::Tiles { rows, tile, x: (held.rows as u32).div_ceil(tile) };
        }
        let operands = [Operand::Step, Operand::Value(inputs[0]), bias, Operand::Value(node)];
        (dispatch, in_order(&operands))
    });
    if few {
        for p in &mut launches {
            (p.slots.input, p.slots.output) = (Some("f32"), Some("plain"));
        }
    }
    launches
}

/// Rows of a weight that one part of its matrix holds.
struct Held {
    /// How many.
    rows: usize,
    /// The first, in the weight's own count.
    first: usize,
    /// The first, in the part's count.
    at: usize,
    format: &'static Format,
}

/// A dispatch for each part of the matrix that holds rows of `weight`.
fn parts(
    s: &Planner<'_>,
    weight: Node,
    node: Node,
    make: impl Fn(Held) -> (Dispatch, Vec<(u32, Operand)>),
) -> Vec<Launch> {
    let (at, first) = s.layout.place[&weight];
    let matrix = &s.layout.matrices[at];
    let Rows::Of(rows) = s.graph.shape(weight).rows else { panic!("a weight has a number of rows") };
    let mut launches = Vec::new();
    for part in 0..matrix.parts() {
        let held = matrix.part(part);
        let (start, end) = (held.start.max(first), held.end.min(first + rows));
        if start >= end {
            continue;
        }
        let format = matrix.format;
        let (dispatch, operands) =
            make(Held { rows: end - start, first: start - first, at: start - held.start, format });
        let slots = s.slots(Some(format.wgsl));
        launches.push(Launch { nodes: Vec::new(), dispatch, operands, weight: Some((at, part)), slots });
    }
    if let Some(last) = launches.last_mut() {
        last.nodes.push(node);
    }
    launches
}

/// How a kernel reads a node.
pub fn operand(graph: &Graph, node: Node) -> Operand {
    match graph.entry(node).kind {
        Kind::Weight(_) => Operand::Vector(node),
        Kind::Cache(_) => Operand::Cache(node),
        Kind::Op { .. } => Operand::Value(node),
    }
}

/// The value of a constant that a dispatch has.
pub fn constant(dispatch: &Dispatch, name: &str) -> f64 {
    dispatch.constants.iter().find(|(n, _)| *n == name).map_or(0.0, |(_, v)| *v)
}

/// Gives a constant that a dispatch has another value.
pub fn replace(dispatch: &mut Dispatch, name: &'static str, value: f64) {
    dispatch.constants.retain(|(n, _)| *n != name);
    dispatch.constants.push((name, value));
}
