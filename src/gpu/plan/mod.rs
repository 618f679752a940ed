//! From a graph to dispatches, as plain data: which kernel computes which nodes, with which numbers, from which operands.
//! Nothing here needs a GPU.

pub mod attention;
pub mod dispatch;
pub mod fuse;
pub mod kernels;
pub mod matvec;

use crate::backend::Precision;
use crate::formats::Format;
use crate::gpu::device::Caps;
use crate::gpu::link::Slots;
use crate::gpu::memory::weights::Layout;
use crate::gpu::plan::dispatch::Dispatch;
use crate::graph::{Graph, Node, Rows};

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

/// The weights that a dispatch reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WeightRead {
    /// Which matrix of the layout.
    pub matrix: usize,
    /// Which part of it.
    pub part: usize,
    /// How many of its rows are read for a row of the step.
    pub rows: usize,
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
    /// Group 1: the planes of a part of a matrix.
    pub weight: Option<WeightRead>,
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
    /// The inputs of a node.
    pub fn inputs(&self, node: Node) -> &[Node] {
        self.graph.entry(node).op().map_or(&[], |(_, inputs)| inputs)
    }

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
        let new = fused.unwrap_or_else(|| kernels::plain(s, node));
        for node in new.iter().flat_map(|p| &p.nodes) {
            done[node.0] = true;
        }
        launches.extend(new);
    }
    launches
}

/// Rows of a weight that one part of its matrix holds.
pub struct Held {
    /// How many.
    pub rows: usize,
    /// The first, in the weight's own count.
    pub first: usize,
    /// The first, in the part's count.
    pub at: usize,
    /// How they are stored.
    pub format: &'static Format,
}

/// A dispatch for each part of the matrix that holds rows of `weight`.
pub fn parts(
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
        let rows = end - start;
        let (dispatch, operands) =
            make(Held { rows, first: start - first, at: start - held.start, format: matrix.format });
        let slots = s.slots(Some(matrix.format.wgsl));
        let weight = Some(WeightRead { matrix: at, part, rows });
        launches.push(Launch { nodes: Vec::new(), dispatch, operands, weight, slots });
    }
    if let Some(last) = launches.last_mut() {
        last.nodes.push(node);
    }
    launches
}

/// Gives a constant that a dispatch has another value.
pub fn replace(dispatch: &mut Dispatch, name: &'static str, value: f64) {
    dispatch.constants.retain(|(n, _)| *n != name);
    dispatch.constants.push((name, value));
}
