//! What is computed, as a list of nodes in the order of their computation. Knows no backend, no file and no model.
//!
//! One graph serves prefill, decode and a server's mixed steps: tokens, slots and positions are in the [`Step`], not in the
//! graph, so that what a backend prepares from a graph is prepared once.

mod build;
mod step;

use std::collections::HashMap;
use std::ops::Range;

use crate::formats::Format;
use crate::memory::MemoryKind;
use crate::ops::{AttentionShape, Op};
pub use step::{Row, Step};

/// A handle on a node of a [`Graph`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Node(pub usize);

/// How many rows a value has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rows {
    /// One for every row of the step.
    Step,
    /// One for every row whose logits are asked for.
    Outputs,
    /// This many, whatever the step.
    Of(usize),
}

/// The shape of a node's value: row-major, `cols` numbers to a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    /// The number of rows.
    pub rows: Rows,
    /// The length of a row.
    pub cols: usize,
}

impl Shape {
    /// The distance between rows on a GPU, in numbers: `cols` rounded up so that rows are read in vectors. What lies
    /// between may be anything: no result depends on it.
    pub fn stride(&self) -> usize {
        self.cols.next_multiple_of(8)
    }

    /// The number of rows in `step`.
    pub fn rows_in(&self, step: &Step) -> usize {
        match self.rows {
            Rows::Step => step.rows.len(),
            Rows::Outputs => step.outputs.len(),
            Rows::Of(n) => n,
        }
    }
}

/// Rows of a tensor of the model file, or a stretch of a tensor of one row.
#[derive(Clone, Debug)]
pub struct Weight {
    /// The tensor's name in the file.
    pub tensor: String,
    /// Where the rows begin in the tensor, in weights: a fused QKV tensor is three weights. A multiple of the format's block.
    pub first: usize,
    /// Matrices that follow each other: 1, but for the weights of experts.
    pub experts: usize,
    /// The number of rows of each.
    pub rows: usize,
    /// Weights in a row.
    pub cols: usize,
    /// How they are stored.
    pub format: &'static Format,
}

impl Weight {
    /// The bytes of the tensor's data that hold these rows.
    pub fn bytes(&self) -> Range<usize> {
        let start = self.format.row_bytes(self.first);
        start..start + self.format.row_bytes(self.cols) * self.all_rows()
    }

    /// The rows of all experts.
    pub fn all_rows(&self) -> usize {
        self.experts * self.rows
    }

    fn is(&self, other: &Weight) -> bool {
        (&self.tensor, self.first, self.experts, self.rows, self.cols)
            == (&other.tensor, other.first, other.experts, other.rows, other.cols)
    }
}

/// The keys or the values of one layer, for every position of every slot. `cols` numbers a position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache {
    /// Which cache of the graph this is; backends keep one buffer for each.
    pub id: usize,
    /// Which of them it holds.
    pub holds: Holds,
    /// Numbers of a head: what is written at once.
    pub head_dim: usize,
}

/// What a cache holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Holds {
    /// What queries are multiplied with.
    Keys,
    /// What attention adds up.
    Values,
}

/// What a layer keeps of each slot that is no cache of positions. The op that reads it also moves it on, and is the only one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Which state of the graph this is.
    pub id: usize,
    /// What it is, and how large.
    pub kind: MemoryKind,
}

/// Where a node's value comes from, and with it how long it lives.
#[derive(Debug)]
pub enum Kind {
    /// Constant, from the file.
    Weight(Weight),
    /// Kept from step to step.
    Cache(Cache),
    /// Kept from step to step, and moved on by what reads it. Its columns are the numbers of a slot.
    State(State),
    /// Computed in every step from other nodes.
    Op {
        /// What computes it.
        op: Op,
        /// From what.
        inputs: Vec<Node>,
    },
}

/// A node: what it is called, how large it is, where it comes from.
#[derive(Debug)]
pub struct Entry {
    /// GGUF's own names where there is one, as in `blk.3.attn_q`.
    pub label: String,
    /// The shape of its value.
    pub shape: Shape,
    /// Where its value comes from.
    pub kind: Kind,
}

impl Entry {
    /// The op and its inputs, for nodes that are computed.
    pub fn op(&self) -> Option<(&Op, &[Node])> {
        match &self.kind {
            Kind::Op { op, inputs } => Some((op, inputs)),
            _ => None,
        }
    }

    /// What kind of memory a node is that is kept from step to step.
    pub fn memory(&self) -> Option<MemoryKind> {
        match &self.kind {
            Kind::Cache(Cache { holds, head_dim, .. }) => {
                let (holds, head_dim) = (*holds, *head_dim);
                Some(MemoryKind::Attention { holds, heads: self.shape.cols / head_dim, head_dim })
            }
            Kind::State(state) => Some(state.kind),
            _ => None,
        }
    }
}

/// What a graph computes of its output rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Head {
    /// Logits of all tokens.
    #[default]
    Logits,
    /// The hidden state behind the last norm, which logits are products of.
    Hidden,
}

/// The nodes of a model's forward pass. Every node comes after its inputs; the last one is the logits.
#[derive(Debug, Default)]
pub struct Graph {
    nodes: Vec<Entry>,
    scope: String,
    caches: usize,
    states: usize,
    weights: HashMap<String, Vec<Node>>,
    users: Vec<Vec<Node>>,
}

impl Graph {
    /// An empty graph.
    pub fn new() -> Graph {
        Graph::default()
    }

    /// All nodes, in the order of their computation.
    pub fn nodes(&self) -> impl Iterator<Item = (Node, &Entry)> {
        self.nodes.iter().enumerate().map(|(i, e)| (Node(i), e))
    }

    /// The node behind a handle.
    pub fn entry(&self, node: Node) -> &Entry {
        &self.nodes[node.0]
    }

    /// The nodes that read a node.
    pub fn users(&self, node: Node) -> &[Node] {
        &self.users[node.0]
    }

    /// The shape of a node's value.
    pub fn shape(&self, node: Node) -> Shape {
        self.nodes[node.0].shape
    }

    /// The number of nodes.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The cache behind a handle, if it is one.
    pub fn cache_of(&self, node: Node) -> Option<&Cache> {
        match &self.entry(node).kind {
            Kind::Cache(cache) => Some(cache),
            _ => None,
        }
    }

    /// Whether there is no node.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The number of caches; each layer with keys and values of its own has two.
    pub fn caches(&self) -> usize {
        self.caches
    }

    /// The state that a node reads and moves on.
    pub fn state_of(&self, node: Node) -> Option<Node> {
        let (_, inputs) = self.entry(node).op()?;
        inputs.last().copied().filter(|&n| matches!(self.entry(n).kind, Kind::State(_)))
    }

    /// All states, in their order, with the numbers of a slot.
    pub fn states(&self) -> impl Iterator<Item = (Node, usize)> {
        self.nodes().filter(|(_, e)| matches!(e.kind, Kind::State(_))).map(|(n, e)| (n, e.shape.cols))
    }

    /// The last node: the logits, or what else is wanted of output rows.
    pub fn output(&self) -> Node {
        Node(self.nodes.len() - 1)
    }

    /// Makes this node the last one: what follows it is not computed.
    pub fn end_at(&mut self, node: Node) {
        let Node(last) = node;
        self.nodes.truncate(last + 1);
        self.users.truncate(last + 1);
        self.users.iter_mut().for_each(|users| users.retain(|user| user.0 <= last));
        self.weights.values_mut().for_each(|nodes| nodes.retain(|weight| weight.0 <= last));
    }

    /// Labels of the nodes that follow begin with `scope` and a dot, or with nothing when it is empty.
    pub fn scope(&mut self, scope: &str) {
        self.scope = scope.to_string();
    }

    /// Names a node: its label in `check` and in profiles.
    pub fn name(&mut self, node: Node, label: &str) -> Node {
        self.nodes[node.0].label = self.label(label);
        node
    }

    fn label(&self, label: &str) -> String {
        if self.scope.is_empty() { label.to_string() } else { format!("{}.{label}", self.scope) }
    }

    fn push(&mut self, label: String, shape: Shape, kind: Kind) -> Node {
        let node = Node(self.nodes.len());
        if let Kind::Op { inputs, .. } = &kind {
            for input in inputs {
                self.users[input.0].push(node);
            }
        }
        self.nodes.push(Entry { label, shape, kind });
        self.users.push(Vec::new());
        node
    }

    /// A weight, labelled as its tensor. The same rows of the same tensor are one node.
    pub fn weight(&mut self, weight: Weight) -> Node {
        if let Some(&at) = self
            .weights
            .get(&weight.tensor)
            .into_iter()
            .flatten()
            .find(|&&n| matches!(&self.entry(n).kind, Kind::Weight(w) if w.is(&weight)))
        {
            return at;
        }
        self.weights.entry(weight.tensor.clone()).or_default().push(Node(self.nodes.len()));
        let shape = Shape { rows: Rows::Of(weight.all_rows()), cols: weight.cols };
        self.push(weight.tensor.clone(), shape, Kind::Weight(weight))
    }

    /// A cache of keys or values, for as many heads as `shape` has.
    pub fn cache(&mut self, label: &str, holds: Holds, shape: AttentionShape) -> Node {
        let (id, cols) = (self.caches, shape.kv_heads * shape.head_dim);
        self.caches += 1;
        let cache = Cache { id, holds, head_dim: shape.head_dim };
        // A cache's number of rows is the backend's: slots × positions.
        self.push(self.label(label), Shape { rows: Rows::Of(0), cols }, Kind::Cache(cache))
    }

    /// A state of a slot.
    pub fn state(&mut self, label: &str, kind: MemoryKind) -> Node {
        let id = self.states;
        self.states += 1;
        let shape = Shape { rows: Rows::Of(0), cols: kind.numbers(0) };
        self.push(self.label(label), shape, Kind::State(State { id, kind }))
    }

    /// Adds the node that `op` computes from `inputs`. A shape that does not fit is a mistake in the model's file: it panics.
    pub fn op(&mut self, op: impl Into<Op>, inputs: &[Node]) -> Node {
        let op = op.into();
        let shapes: Vec<Shape> = inputs.iter().map(|&n| self.shape(n)).collect();
        let shape = op.shape(&shapes);
        let label = self.label(op.name());
        self.push(label, shape, Kind::Op { op, inputs: inputs.to_vec() })
    }
}
