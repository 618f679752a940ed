//! From a graph to dispatches, as plain data: which kernel computes which nodes, with which numbers, from which operands.
//! Nothing here needs a GPU.

use crate::backend::Precision;
use crate::gpu::device::Caps;
use crate::gpu::fuse;
use crate::gpu::link::Slots;
use crate::gpu::weights::Layout;
use crate::graph::{Graph, Kind, Node, Rows, Shape};
use crate::ops::{Dispatch, Extent};

/// For how many rows a plan is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// One: decode.
    One,
    /// Any number: prefill, several sequences.
    Many,
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
    /// Room that a fused kernel needs beside the values of nodes; `usize` numbers of f32 for each row.
    Scratch(usize),
    /// Something that the kernel's constants keep it from reading.
    Nothing,
}

/// One dispatch.
#[derive(Clone, Debug)]
pub struct Planned {
    /// The nodes that it computes; empty for all but the last part of a split one.
    pub nodes: Vec<Node>,
    /// Kernel, constants, workgroups.
    pub dispatch: Dispatch,
    /// Group 0, in order.
    pub operands: Vec<Operand>,
    /// Group 1: the planes of this part of this matrix.
    pub weight: Option<(usize, usize)>,
    /// What the slots stand for.
    pub slots: Slots,
}

/// What a plan is made for.
pub struct Setting<'a> {
    /// The graph.
    pub graph: &'a Graph,
    /// How the weights are laid out.
    pub layout: &'a Layout,
    /// What the device offers.
    pub caps: &'a Caps,
    /// For how many rows.
    pub class: Class,
    /// Positions of a slot.
    pub context: usize,
    /// How to compute.
    pub precision: Precision,
}

impl Setting<'_> {
    /// What the slots stand for in a kernel that reads weights of `format`.
    pub fn slots(&self, weight: Option<&'static str>) -> Slots {
        let cache = match self.precision {
            Precision::Fast => "f16",
            Precision::F32 => "f32",
        };
        Slots { weight, cache, subgroups: self.caps.subgroups }
    }
}

/// The dispatches of a step, in order. `unfused`: every node by one of its own.
pub fn plan(s: &Setting<'_>, unfused: bool) -> Vec<Planned> {
    let mut planned = Vec::new();
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
        planned.extend(new);
    }
    planned
}

/// The dispatches that compute one node alone: more than one where its weight is in parts.
fn plain(s: &Setting<'_>, node: Node) -> Vec<Planned> {
    let Some((op, inputs)) = s.graph.entry(node).op() else { return Vec::new() };
    let shapes: Vec<Shape> = inputs.iter().map(|&n| s.graph.shape(n)).collect();
    let mut dispatch = op.dispatch(&shapes, s.graph.shape(node));
    dispatch.constants.push(("CONTEXT", s.context as f64));
    let mut operands = vec![Operand::Step];
    for i in op.bound_inputs(inputs.len()) {
        if op.matrix_input() != Some(i) {
            operands.push(operand(s.graph, inputs[i]));
        }
    }
    match op.name() {
        "linear" => {
            if inputs.len() < 3 {
                operands.push(Operand::Nothing);
            }
            operands.push(Operand::Value(node));
            linear(s, node, dispatch, operands)
        }
        "embed" => {
            operands.push(Operand::Value(node));
            parts(s, inputs[0], node, |rows, first, _| {
                let mut dispatch = dispatch.clone();
                dispatch.constants.push(("FIRST_ROW", first as f64));
                dispatch.constants.push(("ROWS", rows as f64));
                (dispatch, operands.clone())
            })
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
            let width = s.caps.invocations.min(256) as f64;
            if matches!(name, "rms_norm" | "layer_norm") {
                dispatch.constants.push(("WORKGROUP", width));
            }
            vec![Planned { nodes: vec![node], dispatch, operands, weight: None, slots: s.slots(None) }]
        }
    }
}

/// Invocations of a matvec's workgroup.
const MATVEC: u32 = 128;

fn linear(s: &Setting<'_>, node: Node, dispatch: Dispatch, operands: Vec<Operand>) -> Vec<Planned> {
    let Some((_, inputs)) = s.graph.entry(node).op() else { return Vec::new() };
    let rows = s.graph.shape(node).rows;
    let few = s.class == Class::One || rows == Rows::Asked;
    parts(s, inputs[1], node, |n, _, out| {
        let mut dispatch = dispatch.clone();
        replace(&mut dispatch, "N", n as f64);
        dispatch.constants.push(("FIRST_OUT", out as f64));
        if few {
            // Two passes a team, unless there are then too few workgroups to fill a device.
            let pairs = (n as u32).div_ceil(2);
            let teams = (MATVEC / s.caps.team).max(1);
            let passes = (pairs / (teams * 1024)).clamp(1, 4);
            let groups = pairs.div_ceil(teams * passes);
            dispatch.kernel = "matvec";
            dispatch.constants.extend([
                ("GROUPS", groups as f64),
                ("PASSES", passes as f64),
                ("WORKGROUP", MATVEC as f64),
            ]);
            dispatch.extent = Extent::PerRow { rows, each: groups };
        } else if let Extent::Tiles { rows, tile, .. } = dispatch.extent {
            dispatch.extent = Extent::Tiles { rows, tile, x: (n as u32).div_ceil(tile) };
        }
        (dispatch, operands.clone())
    })
}

/// A dispatch for each part of the matrix that holds rows of `weight`. `make` is given the number of these rows, their first in
/// the weight's own count for an embedding's table, and the same for where a linear's result goes.
fn parts(
    s: &Setting<'_>,
    weight: Node,
    node: Node,
    make: impl Fn(usize, usize, usize) -> (Dispatch, Vec<Operand>),
) -> Vec<Planned> {
    let (at, first) = s.layout.place[&weight];
    let matrix = &s.layout.matrices[at];
    let rows = match s.graph.shape(weight).rows {
        Rows::Of(rows) => first..first + rows,
        _ => panic!("a weight has a number of rows"),
    };
    let mut planned = Vec::new();
    for part in 0..matrix.parts() {
        let held = matrix.part(part);
        let (start, end) = (held.start.max(rows.start), held.end.min(rows.end));
        if start >= end {
            continue;
        }
        let (mut dispatch, operands) = make(end - start, start - first, start - first);
        if dispatch.kernel != "embed" {
            dispatch.constants.push(("FIRST_ROW", (start - held.start) as f64));
        }
        let slots = s.slots(Some(matrix.format.wgsl));
        planned.push(Planned { nodes: Vec::new(), dispatch, operands, weight: Some((at, part)), slots });
    }
    if let Some(last) = planned.last_mut() {
        last.nodes.push(node);
    }
    planned
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
