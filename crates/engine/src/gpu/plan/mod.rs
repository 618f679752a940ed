//! From a graph to dispatches, as plain data: which kernel computes which nodes, with which numbers, from which operands.
//! Nothing here needs a GPU.

pub mod attention;
pub mod attention_matrix;
pub mod chain;
pub mod copies;
pub mod delta;
pub mod dispatch;
pub mod expert_matmul;
pub mod expert_matvec;
pub mod experts;
pub mod groups;
pub mod heads;
pub mod kernels;
pub mod lanes;
pub mod lower;
pub mod matmul;
pub mod matmul_few;
pub mod matvec;
pub mod policy;
pub mod projections;
pub mod summed;

use std::collections::HashSet;

use crate::backend::Precision;
use crate::formats::Format;
use crate::gpu::caps::{Caps, Matrix};
use crate::gpu::link::Slots;
use crate::gpu::memory::weights::{Layout, weight};
use crate::gpu::plan::dispatch::Dispatch;
use crate::graph::{Graph, Node, Rows};
use crate::memory::Kv;
use copies::{Copies, Copy};
use groups::{Group, Norm};

/// For how many rows a plan is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowClass {
    /// One: decode.
    One,
    /// As many as matvecs multiply fastest: see [`few`].
    Few,
    /// Up to [`SEVERAL`]: many sequences, short prompts.
    Several,
    /// Any number: prefill.
    Many,
}

/// Rows up to which a step is not of many, at most.
pub const SEVERAL: usize = 64;

impl RowClass {
    /// All of them, in the order of their discriminants.
    pub const ALL: [RowClass; 4] = [RowClass::One, RowClass::Few, RowClass::Several, RowClass::Many];
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
    /// States of slots.
    State(Node),
    /// The pages of all slots.
    Pages,
    /// A value as the next matvec multiplies it (`wgsl/copy/`); of a norm's value this stands in for the value itself.
    ActivationCopy(Copy),
    /// Queries, keys and values of a row, one behind the other, before what follows their projection; named by the first linear.
    Heads(Node),
    /// The biases of a group's linears, one behind the other; named by the first linear.
    Biases(Node),
    /// What attention found of each span of positions, before the spans are put together.
    Partials(Node),
    /// What the rows of each chunk say to each other, before the state is carried through the chunks of the recurrence that is named.
    Chunks(Node),
    /// Which rows go to which expert of the route of this node, and how they are cut into tiles.
    Tiles(Node),
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
    /// In what it multiplies.
    pub arithmetic: Arithmetic,
}

/// In what the products of a dispatch are computed; sums are f32 always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Arithmetic {
    /// As the reference does.
    #[default]
    F32,
    /// With activations and weights rounded to f16, for matrix units.
    F16,
    /// With activations rounded to int8, which costs more than that.
    Int8,
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

    /// The sum of two values as tests have it, which look at nothing but operands.
    #[cfg(test)]
    pub fn addition([a, b, y]: [usize; 3]) -> Launch {
        let value = |node| Operand::Value(Node(node));
        let extent = dispatch::Extent::PerRow { rows: Rows::Step, each: 1 };
        Launch {
            nodes: vec![Node(y)],
            dispatch: Dispatch { kernel: "add", constants: Vec::new(), extent },
            operands: vec![(0, Operand::Step), (1, value(a)), (2, value(b)), (3, value(y))],
            weight: None,
            slots: Slots::NONE,
            arithmetic: Arithmetic::F32,
        }
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
    /// Positions of a slot at most.
    pub context: usize,
    /// How to compute.
    pub precision: Precision,
    /// How keys and values are kept.
    pub kv: Kv,
}

impl Planner<'_> {
    /// The inputs of a node.
    pub fn inputs(&self, node: Node) -> &[Node] {
        self.graph.entry(node).op().map_or(&[], |(_, inputs)| inputs)
    }

    /// What the slots stand for in a kernel that reads weights of `format`.
    pub fn slots(&self, weight: Option<&'static str>) -> Slots {
        let (keys, values) = (Some(self.kv.keys.name), Some(self.kv.values.name));
        Slots { weight, keys, values, subgroups: self.caps.subgroups, ..Slots::NONE }
    }
}

/// Rows up to which a step is of few: all that are not many, unless matrix units are faster.
pub fn few(graph: &Graph, caps: &Caps, layout: &Layout, precision: Precision) -> usize {
    if precision != Precision::Fast || !matmul_few::fits(caps) {
        return SEVERAL;
    }
    // For tests, whose matrices are small.
    if caps.matrix == Some(Matrix::Emulated) {
        return 3;
    }
    average(graph, layout).map_or(SEVERAL, |(format, bytes)| caps.policy.by_matvec(format, bytes))
}

/// The format that most weights have, and the bytes of a matrix on average.
pub fn average(graph: &Graph, layout: &Layout) -> Option<(&'static Format, usize)> {
    // Of several rows experts are multiplied as of few.
    let all = layout.matrices.iter();
    let matrices: Vec<_> = all.filter(|m| weight(graph, m.nodes[0]).experts == 1).collect();
    let bytes = |format: Option<&Format>| -> usize {
        let all = matrices.iter().filter(|m| format.is_none_or(|format| m.format.id == format.id));
        all.map(|m| m.rows * m.format.row_bytes(m.cols)).sum()
    };
    let most = matrices.iter().map(|m| m.format).max_by_key(|&format| bytes(Some(format)));
    most.map(|format| (format, bytes(None) / matrices.len()))
}

/// The launches of a step, in order. `unfused`: every node by launches of its own.
pub fn plan(s: &Planner<'_>, groups: &[Group], unfused: bool) -> Vec<Launch> {
    if unfused {
        let computed = s.graph.nodes().filter(|(_, e)| e.op().is_some());
        return computed.flat_map(|(node, _)| kernels::plain(s, node)).collect();
    }
    // What a group computes for itself, nobody does in front of it.
    let taken = |group: &Group| match group {
        Group::Matmul(m) => summed::joined(s, m).map(Norm::value),
        Group::Experts(experts) => expert_matvec::routed(s, experts).map(|(route, _)| route),
        _ => None,
    };
    let taken: HashSet<Node> = groups.iter().filter_map(taken).collect();
    let stays = |group: &&Group| match group {
        Group::Norm(norm) => !taken.contains(&norm.value()),
        Group::Single(node) => !taken.contains(node),
        _ => true,
    };
    let groups: Vec<&Group> = groups.iter().filter(stays).collect();
    // The copies that a group reads, of those that fit.
    let reads: Vec<Option<Vec<Copy>>> =
        groups.iter().map(|group| lower::fits(s, group).then(|| lower::wanted(s, group))).collect();
    let wanted: Vec<Copy> = reads.iter().flatten().flatten().copied().collect();
    let fitting = groups.iter().zip(&reads).filter(|(_, reads)| reads.is_some());
    let along: HashSet<Node> = fitting.flat_map(|(group, _)| lower::writes_along(s, group)).collect();
    let copies = Copies::new(&wanted, |value| along.contains(&value));
    let mut launches: Vec<Launch> = Vec::new();
    let mut fed: HashSet<Copy> = HashSet::new();
    for (group, reads) in groups.into_iter().zip(reads) {
        let Some(reads) = reads else {
            // Norms that vanish in front of several groups are computed once.
            for node in group.nodes() {
                let written = |l: &Launch| l.operands.iter().any(|(_, o)| *o == Operand::Value(node));
                if !launches.iter().any(|l| l.nodes.contains(&node) && written(l)) {
                    launches.extend(kernels::plain(s, node));
                }
            }
            continue;
        };
        for copy in reads {
            if !copies.is_along(&copy) && fed.insert(copy) {
                launches.extend(lower::feed(s, copy));
            }
        }
        launches.extend(lower::launches(s, &copies, group));
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
        launches.push(Launch {
            nodes: Vec::new(),
            dispatch,
            operands,
            weight,
            slots,
            arithmetic: Arithmetic::F32,
        });
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
