//! What stands between the projections of queries, keys and values and the attention to them, as far as it is computed together.

use std::collections::HashMap;

use crate::gpu::plan::groups::{inputs, is_of_rows, only_user, op};
use crate::graph::{Graph, Node};
use crate::ops::{Activation, Gate, Op, Pairing};

/// What stands between the projections of queries, keys and values and the attention to them.
#[derive(Clone, Debug, PartialEq)]
pub struct Heads {
    /// Norms of each head of queries and keys, both with weights or both without.
    pub norms: Option<[Node; 2]>,
    /// Rotary positions of queries and keys.
    pub ropes: Option<[Node; 2]>,
    /// Whether each of these norms is one of all heads of a row.
    pub whole: bool,
    /// Whether the norms come behind the rotary positions.
    pub norms_last: bool,
    /// The norm of each head of values, which has no weight.
    pub value_norm: Option<Node>,
    /// The writing of keys and values.
    pub stores: [Node; 2],
    /// The attention that reads them.
    pub attend: Node,
    /// Gates of what attention finds, each of which lies behind the query of its head.
    pub gates: Option<Gates>,
}

/// Queries and gates that are parts of one value, and what becomes of the gates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gates {
    /// The queries.
    pub queries: Node,
    /// The gates.
    pub gates: Node,
    /// What attention finds times the sigmoid of the gates.
    pub product: Node,
}

impl Heads {
    /// All nodes, in no order.
    pub fn nodes(&self) -> impl Iterator<Item = Node> {
        let pairs = [self.norms, self.ropes].into_iter().flatten().flatten();
        let parts = self.gates.map(|g| [g.queries, g.gates]).into_iter().flatten();
        pairs.chain(self.value_norm).chain(self.stores).chain(parts)
    }

    /// The queries that attention reads.
    pub fn queries(&self, g: &Graph) -> Node {
        inputs(g, self.attend)[0]
    }

    /// Whether keys and values can be written by whoever sums them up: pairs that turn are neighbours there.
    pub fn are_neighbours(&self, g: &Graph) -> bool {
        let turns = self.ropes.is_some_and(|[q, _]| match op(g, q) {
            Some(Op::Rope(rope)) => rope.0.pairing != Pairing::Neighbours,
            _ => true,
        });
        self.norms.is_none() && self.value_norm.is_none() && self.gates.is_none() && !turns
    }
}

/// The projections and what follows them, of each attention whose queries, keys and values come from linears of one value, by the first.
pub fn all_heads(g: &Graph) -> HashMap<Node, (Vec<Node>, Heads)> {
    let mut found = HashMap::new();
    for (node, entry) in g.nodes() {
        if let Some((Op::Attend(_), _)) = entry.op()
            && let Some((linears, heads)) = heads_of(g, node)
        {
            let first = linears.iter().copied().min().unwrap_or(linears[0]);
            if first == linears[0] {
                found.insert(first, (linears, heads));
            }
        }
    }
    found
}

fn heads_of(g: &Graph, attend: Node) -> Option<(Vec<Node>, Heads)> {
    let &[q, keys, values, ..] = inputs(g, attend) else { return None };
    let store = |cache: Node| {
        let mut stores = g.users(cache).iter().copied().filter(|&u| matches!(op(g, u), Some(Op::Store(_))));
        stores.next().filter(|_| stores.next().is_none())
    };
    let stores = [store(keys)?, store(values)?];
    let Some(Op::Attend(attention)) = op(g, attend) else { return None };
    let head_dim = attention.0.head_dim;
    let stored = inputs(g, stores[1])[0];
    let value_norm = Some(stored).filter(|&n| is_unit_of_heads(g, n, attention.0.kv_heads));
    let v = value_norm.map_or(stored, |norm| inputs(g, norm)[0]);
    let mut chain_q = chain(g, q, attend, None, head_dim)?;
    let chain_k = chain(g, inputs(g, stores[0])[0], stores[0], value_norm, head_dim)?;
    let mut gates = None;
    if let Some(Op::Part(_)) = op(g, chain_q.linear) {
        gates = Some(gates_of(g, chain_q.linear, attend)?);
        chain_q.linear = inputs(g, chain_q.linear)[0];
    }
    let same = chain_q.order == chain_k.order;
    let shared = v == chain_k.linear;
    let x = |l: Node| matches!(op(g, l), Some(Op::Linear(_))).then(|| inputs(g, l)[0]);
    if !same
        || only_user(g, stored) != Some(stores[1])
        || !(shared || value_norm.is_none() || only_user(g, v) == value_norm)
        || x(v).is_none()
        || x(v) != x(chain_q.linear)
        || x(v) != x(chain_k.linear)
    {
        return None;
    }
    let mut linears = vec![chain_q.linear, chain_k.linear];
    linears.extend(Some(v).filter(|_| !shared));
    let both = |a: Option<Node>, b: Option<Node>| Some([a?, b?]);
    let ropes = both(chain_q.rope, chain_k.rope);
    if let Some([a, b]) = ropes {
        // Both by the same table.
        let shape = |n: Node| match g.entry(n).op() {
            Some((Op::Rope(rope), inputs)) => Some((rope.clone(), inputs[1..].to_vec())),
            _ => None,
        };
        if shape(a) != shape(b) {
            return None;
        }
    }
    let norms = both(chain_q.norm, chain_k.norm);
    let eps = |n: Node| match op(g, n) {
        Some(Op::RmsNorm(norm)) => Some(norm.eps),
        _ => None,
    };
    let weighted = |n: Node| inputs(g, n).len() == 2;
    if norms.is_some_and(|[a, b]| eps(a) != eps(b) || weighted(a) != weighted(b)) {
        return None;
    }
    let norms_last = chain_q.order == [Link::Rope, Link::Norm];
    let whole = norms.is_some_and(|norms| norms.iter().any(|&norm| !is_of_each_head(g, norm, head_dim)));
    // A norm of one head is both.
    if whole
        && (norms_last
            || value_norm.is_some()
            || gates.is_some()
            || !norms.is_some_and(|n| n.iter().all(|&n| is_of_rows(g, n))))
    {
        return None;
    }
    // Values are normalised where the others are, before anything turns.
    if let Some(norm) = value_norm
        && (norms_last || norms.is_none_or(|[q, _]| eps(q) != eps(norm)))
    {
        return None;
    }
    Some((linears, Heads { norms, whole, ropes, norms_last, value_norm, stores, attend, gates }))
}

/// The gates beside `queries`, where these are the first halves of stretches whose second halves gate what attention finds.
fn gates_of(g: &Graph, queries: Node, attend: Node) -> Option<Gates> {
    let Some(Op::Attend(attention)) = op(g, attend) else { return None };
    let (groups, len) = (attention.0.heads, attention.0.head_dim);
    let both = inputs(g, queries)[0];
    let half = |node: Node, first: usize| {
        g.shape(both).cols == 2 * groups * len
            && matches!(op(g, node), Some(Op::Part(part)) if (part.groups, part.first, part.len) == (groups, first, len))
    };
    let others: Vec<Node> = g.users(both).iter().copied().filter(|&user| user != queries).collect();
    let &[gates] = &others[..] else { return None };
    let product = only_user(g, attend)?;
    let gated = matches!(op(g, product), Some(Op::Gate(gate)) if *gate == Gate::of(Activation::Sigmoid));
    let fits = half(queries, 0)
        && half(gates, len)
        && gated
        && both != g.output()
        && inputs(g, product) == [gates, attend]
        && only_user(g, gates) == Some(product);
    fits.then_some(Gates { queries, gates, product })
}

/// What stands between a projection, or a part of one, and its reader.
struct Chain {
    linear: Node,
    norm: Option<Node>,
    rope: Option<Node>,
    /// From the projection on.
    order: Vec<Link>,
}

#[derive(Clone, Copy, PartialEq)]
enum Link {
    Norm,
    Rope,
}

/// The projection may have `beside` as a second reader.
fn chain(g: &Graph, last: Node, reader: Node, beside: Option<Node>, head_dim: usize) -> Option<Chain> {
    let mut chain = Chain { linear: last, norm: None, rope: None, order: Vec::new() };
    let (mut node, mut reader) = (last, reader);
    loop {
        let alone = only_user(g, node) == Some(reader);
        let projection = matches!(op(g, node), Some(Op::Linear(_)));
        if !(alone || projection && g.users(node).iter().all(|&user| user == reader || Some(user) == beside))
        {
            return None;
        }
        match op(g, node)? {
            Op::Rope(rope) if chain.rope.is_none() && rope.0.first == 0 => {
                chain.rope = Some(node);
                chain.order.insert(0, Link::Rope);
            }
            Op::RmsNorm(_)
                if chain.norm.is_none() && (is_of_each_head(g, node, head_dim) || is_of_rows(g, node)) =>
            {
                chain.norm = Some(node);
                chain.order.insert(0, Link::Norm);
            }
            Op::Linear(_) | Op::Part(_) => {
                chain.linear = node;
                return Some(chain);
            }
            _ => return None,
        }
        reader = node;
        node = inputs(g, node)[0];
    }
}

/// Whether a norm is of each head, with a weight or without.
fn is_of_each_head(g: &Graph, norm: Node, head_dim: usize) -> bool {
    is_of_heads(g, norm, head_dim) || is_unit_of_heads(g, norm, g.shape(norm).cols / head_dim)
}

/// Whether a norm is of each head, of which there may be one.
fn is_of_heads(g: &Graph, norm: Node, head_dim: usize) -> bool {
    matches!(inputs(g, norm), [_, w] if g.shape(*w).cols == head_dim)
}

/// Whether a node is a norm of each of `heads` heads without a weight.
fn is_unit_of_heads(g: &Graph, node: Node, heads: usize) -> bool {
    matches!(op(g, node), Some(Op::RmsNorm(norm)) if norm.groups == heads) && inputs(g, node).len() == 1
}
