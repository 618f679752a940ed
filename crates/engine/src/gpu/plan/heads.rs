//! What stands between the projections of queries, keys and values and the attention to them, as far as it is computed together.

use std::collections::HashMap;

use crate::gpu::plan::groups::{inputs, is_of_rows, only_user, op};
use crate::graph::{Graph, Node};
use crate::ops::{Activation, Gate, Op, Pairing};

/// What stands between the projections of queries, keys and values and the attention to them.
#[derive(Clone, Debug, PartialEq)]
pub struct Heads {
    /// The norm of each head of queries.
    pub norm: Option<Node>,
    /// The rotary positions of queries.
    pub rope: Option<Node>,
    /// Whether the norms, of queries and of keys, are of all heads of a row at once.
    pub whole: bool,
    /// Whether the norms come behind the rotary positions.
    pub norms_last: bool,
    /// The layer's own keys and values; none where it reads those of an earlier one.
    pub own: Option<Own>,
    /// The attention that reads them.
    pub attend: Node,
    /// Gates of what attention finds, each of which lies behind the query of its head.
    pub gates: Option<Gates>,
}

/// What becomes of keys and values before they are in their caches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Own {
    /// The norm of each head of keys, where queries have one, both with weights or both without.
    pub norm: Option<Node>,
    /// The rotary positions of keys, by the table of queries'.
    pub rope: Option<Node>,
    /// The norm of each head of values, which has no weight.
    pub value_norm: Option<Node>,
    /// The writing of keys and values.
    pub stores: [Node; 2],
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
        let own = |own: Own| [own.norm, own.rope, own.value_norm].into_iter().flatten().chain(own.stores);
        let parts = self.gates.map(|g| [g.queries, g.gates]).into_iter().flatten();
        self.norm.into_iter().chain(self.rope).chain(self.own.into_iter().flat_map(own)).chain(parts)
    }

    /// The norm of each head of values.
    pub fn value_norm(&self) -> Option<Node> {
        self.own.and_then(|own| own.value_norm)
    }

    /// The queries that attention reads.
    pub fn queries(&self, g: &Graph) -> Node {
        inputs(g, self.attend)[0]
    }

    /// The caches of keys and of values that attention reads.
    pub fn caches(&self, g: &Graph) -> [Node; 2] {
        [inputs(g, self.attend)[1], inputs(g, self.attend)[2]]
    }

    /// Whether all of it can be written by whoever sums it up: pairs that turn are neighbours there.
    pub fn are_neighbours(&self, g: &Graph) -> bool {
        let turns = self.rope.is_some_and(|q| match op(g, q) {
            Some(Op::Rope(rope)) => rope.0.pairing != Pairing::Neighbours,
            _ => true,
        });
        self.norm.is_none() && self.value_norm().is_none() && self.gates.is_none() && !turns
    }
}

/// The projections and what follows them, of each attention whose queries come from a linear, and whose keys and values come from linears of the same value or
/// are those of an earlier one; by the first linear.
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
    let mut queries = chain(g, q, attend, None, head_dim)?;
    let mut gates = None;
    if let Some(Op::Part(_)) = op(g, queries.linear) {
        gates = Some(gates_of(g, queries.linear, attend)?);
        queries.linear = inputs(g, queries.linear)[0];
    }
    if !matches!(op(g, queries.linear), Some(Op::Linear(_))) {
        return None;
    }
    let mut linears = vec![queries.linear];
    let own = match own_of(g, &queries, stores, attention.0.kv_heads, head_dim) {
        Some((own, others)) => {
            linears.extend(others);
            Some(own)
        }
        // Queries by themselves, where anything follows them, need caches that are written by then.
        None if stores.iter().all(|&store| store < queries.linear) && !queries.order.is_empty() => None,
        None => return None,
    };
    let norms = || queries.norm.into_iter().chain(own.and_then(|own| own.norm));
    let value_norm = own.and_then(|own| own.value_norm);
    let norms_last = queries.order == [Link::Rope, Link::Norm];
    let whole = norms().any(|norm| !is_of_each_head(g, norm, head_dim));
    // A norm of one head is both.
    if whole
        && (norms_last || value_norm.is_some() || gates.is_some() || !norms().all(|norm| is_of_rows(g, norm)))
    {
        return None;
    }
    let Chain { norm, rope, .. } = queries;
    Some((linears, Heads { norm, rope, whole, norms_last, own, attend, gates }))
}

/// The keys and values that `stores` write, and their linears, where these are of the value that is multiplied for queries, and what follows them is alike.
fn own_of(
    g: &Graph,
    queries: &Chain,
    stores: [Node; 2],
    kv_heads: usize,
    head_dim: usize,
) -> Option<(Own, Vec<Node>)> {
    let stored = inputs(g, stores[1])[0];
    let value_norm = Some(stored).filter(|&n| is_unit_of_heads(g, n, kv_heads));
    let v = value_norm.map_or(stored, |norm| inputs(g, norm)[0]);
    let keys = chain(g, inputs(g, stores[0])[0], stores[0], value_norm, head_dim)?;
    let shared = v == keys.linear;
    let x = |l: Node| matches!(op(g, l), Some(Op::Linear(_))).then(|| inputs(g, l)[0]);
    // Both turn by the same table.
    let table = |n: Node| match g.entry(n).op() {
        Some((Op::Rope(rope), inputs)) => Some((rope.clone(), inputs[1..].to_vec())),
        _ => None,
    };
    let eps = |n: Node| match op(g, n) {
        Some(Op::RmsNorm(norm)) => Some(norm.eps),
        _ => None,
    };
    let norm = |n: Node| (eps(n), inputs(g, n).len());
    let norms_last = queries.order == [Link::Rope, Link::Norm];
    let fits = queries.order == keys.order
        && only_user(g, stored) == Some(stores[1])
        && (shared || value_norm.is_none() || only_user(g, v) == value_norm)
        && x(v).is_some()
        && x(v) == x(queries.linear)
        && x(v) == x(keys.linear)
        && queries.rope.map(table) == keys.rope.map(table)
        && queries.norm.map(norm) == keys.norm.map(norm)
        // Values are normalised where the others are, before anything turns.
        && value_norm.is_none_or(|n| !norms_last && queries.norm.is_some_and(|q| eps(q) == eps(n)));
    let own = Own { norm: keys.norm, rope: keys.rope, value_norm, stores };
    fits.then(|| (own, [keys.linear].into_iter().chain(Some(v).filter(|_| !shared)).collect()))
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
