//! Which nodes are computed together, matched once for all row classes. Plain data: what lies together in memory, which copies of
//! activations there are and who writes them follow from it.
//!
//! A group never changes what a node means: values that others read are written as before, those in between are just not kept. The CPU
//! still computes the nodes one by one, so `check` holds groups to them.

use std::collections::HashMap;

use crate::gpu::memory::weights::weight;
use crate::gpu::plan::delta;
use crate::gpu::plan::experts::{self, Experts};
use crate::gpu::plan::heads::{Gates, Heads, all_heads};
use crate::gpu::plan::summed;
use crate::graph::{Graph, Kind, Node};
use crate::ops::{Activation, Gate, Op};

/// Nodes that are computed together.
#[derive(Clone, Debug, PartialEq)]
pub enum Group {
    /// Linears of one input, and what becomes of them.
    Matmul(Matmul),
    /// What the chosen experts make of a row.
    Experts(Experts),
    /// Attention to a layer's caches.
    Attention(Attention),
    /// Rows of a table, and their product with a number.
    Embed {
        /// The rows.
        embed: Node,
        /// The product that alone reads them.
        scale: Option<Node>,
    },
    /// A gated delta rule and the norm behind it.
    Delta {
        /// The rule.
        rule: Node,
        /// The norm that alone reads it.
        norm: Node,
    },
    /// A norm whose result is read, or a norm and the residual that it is added to.
    Norm(Norm),
    /// A node by itself.
    Single(Node),
}

/// Linears of one input, and what becomes of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Matmul {
    /// The RMS norm in front, where none but linears read it: its input's scaled copy stands in for it.
    pub norm: Option<Node>,
    /// The choice of output rows in front of that norm.
    pub select: Option<Node>,
    /// The norm and the residual of whose sum they are the first readers, through the norm in front or without one: a group of its own, which this one
    /// may take over.
    pub sum: Option<Norm>,
    /// The linears.
    pub linears: Vec<Node>,
    /// What becomes of them.
    pub then: Then,
}

/// What becomes of a matmul's sums.
#[derive(Clone, Debug, PartialEq)]
pub enum Then {
    /// They are kept.
    Keep,
    /// They are added to a residual.
    Add {
        /// The sum.
        add: Node,
        /// What is added.
        residual: Node,
        /// Their product with a number, or with the gate of a row, which is added in their place.
        scale: Option<Node>,
    },
    /// An activation function of them, or that times a value that is known before.
    Activate {
        /// What becomes of them.
        node: Node,
        /// The choice of numbers of a row that makes that value, where nobody else reads it: it is read where those lie.
        part: Option<Node>,
    },
    /// A convolution over positions of them.
    Convolve(Node),
    /// Of two: an activation function of the first times the second.
    Glu(Node),
    /// Of three, or of two where values are keys before their norms: queries, keys and values.
    Heads(Heads),
}

/// Attention to a layer's caches.
#[derive(Clone, Debug, PartialEq)]
pub struct Attention {
    /// The attention.
    pub attend: Node,
    /// The group of its queries, keys and values, where they come from one ([`Then::Heads`]).
    pub projections: Option<Matmul>,
}

impl Attention {
    /// What stands in front of it, where that is a group.
    pub fn heads(&self) -> Option<&Heads> {
        match &self.projections.as_ref()?.then {
            Then::Heads(heads) => Some(heads),
            _ => None,
        }
    }

    /// The gates of what it finds.
    pub fn gates(&self) -> Option<Gates> {
        self.heads().and_then(|heads| heads.gates)
    }

    /// The value that it leaves behind.
    pub fn value(&self) -> Node {
        self.gates().map_or(self.attend, |gates| gates.product)
    }

    /// All nodes of the group, in the graph's order.
    pub fn nodes(&self) -> Vec<Node> {
        let product = self.gates().map(|gates| gates.product);
        [Some(self.attend), product].into_iter().flatten().collect()
    }
}

/// A norm that is computed.
#[derive(Clone, Debug, PartialEq)]
pub struct Norm {
    /// The norm.
    pub norm: Node,
    /// The sum that alone reads it, and what it is added to.
    pub add: Option<[Node; 2]>,
    /// The product with a number of the file that alone reads the sum.
    pub scale: Option<Node>,
}

impl Norm {
    /// The value that it leaves behind.
    pub fn value(&self) -> Node {
        self.scale.or(self.add.map(|[add, _]| add)).unwrap_or(self.norm)
    }
}

impl Matmul {
    /// What is multiplied: the norm, or the value itself.
    pub fn x(&self, g: &Graph) -> Node {
        inputs(g, self.linears[0])[0]
    }

    /// All nodes of the group, in the graph's order.
    pub fn nodes(&self) -> Vec<Node> {
        let mut nodes: Vec<Node> = self.select.into_iter().chain(self.norm).collect();
        nodes.extend(&self.linears);
        match &self.then {
            Then::Keep => {}
            Then::Add { add, scale, .. } => nodes.extend([*add].into_iter().chain(*scale)),
            Then::Activate { node, part } => nodes.extend([*node].into_iter().chain(*part)),
            Then::Glu(node) | Then::Convolve(node) => nodes.push(*node),
            Then::Heads(heads) => nodes.extend(heads.nodes()),
        }
        nodes.sort_unstable();
        nodes
    }

    /// The one value that the group leaves behind, where it is one.
    pub fn value(&self) -> Option<Node> {
        match &self.then {
            Then::Keep => (self.linears.len() == 1).then(|| self.linears[0]),
            Then::Add { add, .. } => Some(*add),
            Then::Activate { node, .. } | Then::Glu(node) | Then::Convolve(node) => Some(*node),
            Then::Heads(_) => None,
        }
    }
}

impl Group {
    /// All nodes of the group, in the graph's order.
    pub fn nodes(&self) -> Vec<Node> {
        match self {
            Group::Matmul(matmul) => matmul.nodes(),
            Group::Experts(experts) => experts.nodes(),
            Group::Norm(norm) => {
                [Some(norm.norm), norm.add.map(|[add, _]| add), norm.scale].into_iter().flatten().collect()
            }
            Group::Attention(attention) => attention.nodes(),
            Group::Embed { embed, scale } => [Some(*embed), *scale].into_iter().flatten().collect(),
            Group::Delta { rule, norm } => vec![*rule, *norm],
            Group::Single(node) => vec![*node],
        }
    }
}

/// The groups of a graph, in an order in which they can be computed.
pub fn groups(g: &Graph) -> Vec<Group> {
    let heads = all_heads(g);
    let mut groups = Vec::new();
    let mut done = vec![false; g.len()];
    for (node, entry) in g.nodes() {
        let Some((op, _)) = entry.op() else { continue };
        // A norm that linears alone read vanishes in front of them, and so does the choice of rows in front of it; and a part of a row that alone gates a
        // linear's sums.
        let vanishes = |user| selects(g, node, user) || gates_by(g, node, user);
        if done[node.0] || folded(g, node) || only_user(g, node).is_some_and(vanishes) {
            continue;
        }
        let group = match op {
            Op::Linear(_) => Group::Matmul(matmul(g, node, &heads)),
            Op::ExpertLinear(_) => match experts::find(g, node) {
                Some(experts) => {
                    Group::Experts(Experts { norm: experts.norm.filter(|&n| folded(g, n)), ..experts })
                }
                None => Group::Single(node),
            },
            Op::DeltaRule(_) => match delta::norm_of(g, node) {
                Some(norm) => Group::Delta { rule: node, norm },
                None => Group::Single(node),
            },
            Op::Attend(_) => Group::Attention(attention(g, node, &heads)),
            Op::Embed(_) => {
                Group::Embed { embed: node, scale: only_user(g, node).filter(|&user| is_constant(g, user)) }
            }
            Op::RmsNorm(_) if is_of_rows(g, node) => {
                let add = only_user(g, node).and_then(|add| Some([add, residual(g, add, node)?]));
                let scale = add.and_then(|[add, _]| only_user(g, add)).filter(|&user| is_of_file(g, user));
                Group::Norm(Norm { norm: node, add, scale })
            }
            Op::LayerNorm(_) => Group::Norm(Norm { norm: node, add: None, scale: None }),
            _ => Group::Single(node),
        };
        for node in group.nodes() {
            done[node.0] = true;
        }
        groups.push(group);
    }
    groups
}

/// Weights that a group reads as one matrix: linears of one group whose weights have one format follow each other.
pub fn runs(g: &Graph, matmul: &Matmul) -> Vec<Vec<usize>> {
    let of = |i: usize| {
        let w = weight(g, inputs(g, matmul.linears[i])[1]);
        (w.format.id, w.cols)
    };
    let mut runs: Vec<Vec<usize>> = vec![vec![0]];
    for i in 1..matmul.linears.len() {
        match runs.last_mut() {
            Some(run) if of(run[0]) == of(i) => run.push(i),
            _ => runs.push(vec![i]),
        }
    }
    runs
}

/// The weights that lie together, for all groups; a weight that several read stays by itself.
pub fn weight_groups(g: &Graph, groups: &[Group]) -> Vec<Vec<Node>> {
    let mut seen: Vec<Node> = Vec::new();
    let mut together = Vec::new();
    for group in groups {
        let runs: Vec<Vec<Node>> = match group {
            Group::Matmul(m) => {
                runs(g, m).iter().map(|run| run.iter().map(|&i| m.linears[i]).collect()).collect()
            }
            Group::Experts(experts) => vec![experts.linears.clone()],
            _ => continue,
        };
        for linears in runs {
            let weights: Vec<Node> = linears.iter().map(|&l| inputs(g, l)[1]).collect();
            let fresh =
                weights.iter().enumerate().all(|(i, w)| !seen.contains(w) && !weights[..i].contains(w));
            if weights.len() > 1 && fresh {
                seen.extend(&weights);
                together.push(weights);
            }
        }
    }
    together
}

/// The linears whose biases are read as one: of groups of several of which any has one.
pub fn biases(g: &Graph, groups: &[Group]) -> Vec<Vec<Node>> {
    let several = |group: &Group| match group {
        Group::Matmul(Matmul { linears, .. }) | Group::Experts(Experts { linears, .. }) => {
            (linears.len() > 1 && linears.iter().any(|&l| bias(g, l).is_some())).then(|| linears.clone())
        }
        _ => None,
    };
    groups.iter().filter_map(several).collect()
}

/// What an RMS norm adds to the mean square.
pub fn eps(g: &Graph, norm: Option<Node>) -> Option<f64> {
    match op(g, norm?) {
        Some(Op::RmsNorm(norm)) => Some(norm.eps as f64),
        _ => None,
    }
}

/// The bias of a linear, or of one of experts.
pub fn bias(g: &Graph, linear: Node) -> Option<Node> {
    let place = if let Some(Op::ExpertLinear(_)) = op(g, linear) { 3 } else { 2 };
    inputs(g, linear).get(place).copied()
}

/// The group that a linear begins.
fn matmul(g: &Graph, linear: Node, heads: &HashMap<Node, (Vec<Node>, Heads)>) -> Matmul {
    let x = inputs(g, linear)[0];
    let norm = Some(x).filter(|&x| folded(g, x));
    let select = norm.map(|n| inputs(g, n)[0]).filter(|&x| matches!(op(g, x), Some(Op::Select(_))));
    let of = |linears: Vec<Node>, then: Then| {
        let sum = summed::find(g, &linears, norm).filter(|_| select.is_none());
        Matmul { norm, select, sum, linears, then }
    };
    if let Some((linears, heads)) = heads.get(&linear) {
        return of(linears.clone(), Then::Heads(heads.clone()));
    }
    let Some(user) = only_user(g, linear) else { return of(vec![linear], Then::Keep) };
    match op(g, user) {
        Some(_) if scales(g, user, linear) => {
            let sum = only_user(g, user).and_then(|add| Some((add, residual(g, add, user)?)));
            match sum.filter(|(_, residual)| *residual < linear) {
                Some((add, residual)) => of(vec![linear], Then::Add { add, residual, scale: Some(user) }),
                None => of(vec![linear], Then::Keep),
            }
        }
        Some(Op::Gate(gate)) if gate.clamp.is_none() && inputs(g, user).len() == 2 => {
            let both = inputs(g, user);
            let alike = |&l: &Node| {
                matches!(op(g, l), Some(Op::Linear(_)))
                    && inputs(g, l)[0] == x
                    && only_user(g, l) == Some(user)
            };
            let [a, b] =
                [both[0], both[1]].map(|l| Some(l).filter(alike).map(|l| weight(g, inputs(g, l)[1])));
            match (a, b) {
                (Some(a), Some(b)) if both[0] == linear && (a.format.id, a.rows) == (b.format.id, b.rows) => {
                    of(both.to_vec(), Then::Glu(user))
                }
                _ if gates(g, user, linear) => {
                    let part = Some(both[1]).filter(|&part| gates_by(g, part, user));
                    of(vec![linear], Then::Activate { node: user, part })
                }
                _ => of(vec![linear], Then::Keep),
            }
        }
        Some(Op::ShortConv(_)) => match delta::convolution_of(g, linear) {
            Some(node) if bias(g, linear).is_none() => of(vec![linear], Then::Convolve(node)),
            _ => of(vec![linear], Then::Keep),
        },
        Some(Op::Unary(_)) => of(vec![linear], Then::Activate { node: user, part: None }),
        Some(Op::Add(_)) => match residual(g, user, linear) {
            Some(residual) => of(vec![linear], Then::Add { add: user, residual, scale: None }),
            None => of(vec![linear], Then::Keep),
        },
        _ => of(vec![linear], Then::Keep),
    }
}

/// The group of an attention.
fn attention(g: &Graph, attend: Node, heads: &HashMap<Node, (Vec<Node>, Heads)>) -> Attention {
    let mut all = heads.iter();
    let first = all.find_map(|(&first, (_, heads))| (heads.attend == attend).then_some(first));
    Attention { attend, projections: first.map(|linear| matmul(g, linear, heads)) }
}

/// Whether a node is the product with a number of the file.
pub fn is_of_file(g: &Graph, node: Node) -> bool {
    matches!(op(g, node), Some(Op::Scale(scale)) if scale.factor == 1.0) && inputs(g, node).len() == 2
}

/// Whether a node is the product with a number that is known when the graph is made.
fn is_constant(g: &Graph, node: Node) -> bool {
    matches!(op(g, node), Some(Op::Scale(_))) && inputs(g, node).len() == 1
}

/// Whether a gate is what a linear gives, and a value of its shape that is known before is gated; where biases would be, that value is read.
fn gates(g: &Graph, gate: Node, linear: Node) -> bool {
    let [by, of] = *inputs(g, gate) else { return false };
    by == linear && of < linear && g.shape(of) == g.shape(linear) && bias(g, linear).is_none()
}

/// Whether `gate` multiplies a linear's sums by `part`, numbers of a row that follow each other and that it alone reads.
fn gates_by(g: &Graph, part: Node, gate: Node) -> bool {
    let Some(Op::Gate(Gate { clamp: None, .. })) = op(g, gate) else { return false };
    let &[linear, of] = inputs(g, gate) else { return false };
    of == part
        && matches!(op(g, part), Some(Op::Part(part)) if part.groups == 1)
        && only_user(g, part) == Some(gate)
        && matches!(op(g, linear), Some(Op::Linear(_)))
        && only_user(g, linear) == Some(gate)
        && gates(g, gate, linear)
}

/// Whether a node is the product of what a linear gives with a number that is known when the graph is made, or with the sigmoid of a number of the row
/// that is known before; where biases would be, that number is read.
fn scales(g: &Graph, node: Node, linear: Node) -> bool {
    let gates = |gate: &Gate| match *inputs(g, node) {
        [by, of] => {
            gate.act == Activation::Sigmoid
                && gate.clamp.is_none()
                && (of, g.shape(by).cols) == (linear, 1)
                && by < linear
                && g.shape(linear).cols > 1
                && bias(g, linear).is_none()
        }
        _ => false,
    };
    match op(g, node) {
        Some(Op::Gate(gate)) => gates(gate),
        _ => is_constant(g, node),
    }
}

/// Whether a node is an RMS norm of whole rows with a weight.
pub fn is_of_rows(g: &Graph, node: Node) -> bool {
    matches!(op(g, node), Some(Op::RmsNorm(norm)) if norm.groups == 1 && norm.rest == 0)
        && inputs(g, node).len() == 2
}

/// Whether a node is an RMS norm of whole rows that nobody but linears and experts read.
fn folded(g: &Graph, node: Node) -> bool {
    let linear = |&l: &Node| match op(g, l) {
        Some(Op::Linear(_)) => inputs(g, l)[0] == node,
        Some(Op::ExpertLinear(_)) => experts::find(g, l).is_some_and(|e| e.x(g) == node),
        _ => false,
    };
    is_of_rows(g, node) && node != g.output() && g.users(node).iter().all(linear)
}

/// Whether `node` chooses the rows that the folded norm `norm` alone reads.
fn selects(g: &Graph, node: Node, norm: Node) -> bool {
    matches!(op(g, node), Some(Op::Select(_))) && folded(g, norm)
}

/// What `term` is added to by `add`, if that is known before `term`.
pub fn residual(g: &Graph, add: Node, term: Node) -> Option<Node> {
    let other = match (op(g, add)?, inputs(g, add)) {
        (Op::Add(_), [a, b]) if *b == term => *a,
        (Op::Add(_), [a, b]) if *a == term => *b,
        _ => return None,
    };
    (other < term).then_some(other)
}

/// The op of a node that is computed.
pub fn op(g: &Graph, node: Node) -> Option<&Op> {
    g.entry(node).op().map(|(op, _)| op)
}

/// The inputs of a node.
pub fn inputs(g: &Graph, node: Node) -> &[Node] {
    match &g.entry(node).kind {
        Kind::Op { inputs, .. } => inputs,
        _ => &[],
    }
}

/// The one node that reads `node`, if there is one.
pub fn only_user(g: &Graph, node: Node) -> Option<Node> {
    let mut users = g.users(node).iter().copied();
    let user = users.next()?;
    (users.next().is_none() && node != g.output()).then_some(user)
}
