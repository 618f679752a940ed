//! What the chosen experts make of a row, as one group: gate and up of each, the product of both, down, the weighted sum, and what that is added to.

use crate::gpu::memory::weights::weight;
use crate::gpu::plan::groups::{inputs, only_user, op, residual};
use crate::graph::{Graph, Node, Weight};
use crate::ops::{Clamp, Gate, Op};

/// The feed-forward of the experts that a route names, without the route.
#[derive(Clone, Debug, PartialEq)]
pub struct Experts {
    /// The RMS norm in front, where none but linears and experts read it.
    pub norm: Option<Node>,
    /// Gate and up of one format, or both in one.
    pub linears: Vec<Node>,
    /// An activation function of the first times the second.
    pub gate: Node,
    /// The product of that.
    pub down: Node,
    /// The sum over the experts.
    pub combine: Node,
    /// The sum that alone reads it, and what it is added to.
    pub add: Option<[Node; 2]>,
}

/// The sizes of experts.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// How many there are.
    pub experts: usize,
    /// How many a row goes to.
    pub used: usize,
    /// Numbers between the two products.
    pub ffn: usize,
    /// Numbers that they give.
    pub width: usize,
}

impl Experts {
    /// All nodes of the group, in the graph's order.
    pub fn nodes(&self) -> Vec<Node> {
        let mut nodes = self.front();
        nodes.push(self.down);
        nodes.extend(self.behind());
        nodes
    }

    /// The nodes up to the gate, in the graph's order.
    pub fn front(&self) -> Vec<Node> {
        self.norm.into_iter().chain(self.linears.iter().copied()).chain([self.gate]).collect()
    }

    /// The sum, and the sum with what it is added to.
    pub fn behind(&self) -> impl Iterator<Item = Node> {
        [self.combine].into_iter().chain(self.add.map(|[add, _]| add))
    }

    /// The one value that the group leaves behind.
    pub fn value(&self) -> Node {
        self.add.map_or(self.combine, |[add, _]| add)
    }

    /// What is multiplied first: the norm, or the value itself.
    pub fn x(&self, g: &Graph) -> Node {
        inputs(g, self.linears[0])[0]
    }

    /// The choice of experts.
    pub fn route(&self, g: &Graph) -> Node {
        inputs(g, self.down)[2]
    }

    /// The weights of a linear of the group.
    pub fn weight<'a>(&self, g: &'a Graph, linear: Node) -> &'a Weight {
        weight(g, inputs(g, linear)[1])
    }

    /// The sizes.
    pub fn sizes(&self, g: &Graph) -> Sizes {
        let down = self.weight(g, self.down);
        let used = g.shape(self.route(g)).cols / 2;
        Sizes { experts: down.experts, used, ffn: down.cols, width: down.rows }
    }

    /// What the gate is, and the clamp that is none where there is none.
    pub fn middle(&self, g: &Graph) -> (Gate, Clamp) {
        let Some(Op::Gate(gate)) = op(g, self.gate) else {
            panic!("experts have a gate between their products")
        };
        (*gate, gate.clamp.unwrap_or(Clamp { limit: 0.0, shift: 0.0 }))
    }

    /// Whether the route's weights act on what experts are given.
    pub fn weighted_early(&self, g: &Graph) -> bool {
        matches!(op(g, self.linears[0]), Some(Op::ExpertLinear(linear)) if linear.weighted)
    }

    /// Whether they act on what experts give.
    pub fn weighted_late(&self, g: &Graph) -> bool {
        matches!(op(g, self.combine), Some(Op::Combine(combine)) if combine.weighted)
    }

    /// Rows from an expert's gate to the next one's, and from a row of gate to that of up.
    pub fn steps(&self, g: &Graph) -> [usize; 2] {
        let Sizes { experts, ffn, .. } = self.sizes(g);
        if self.linears.len() == 1 { [2 * ffn, ffn] } else { [ffn, experts * ffn] }
    }
}

/// The group that a product of experts is a first one of; its norm is whatever stands in front.
pub fn find(g: &Graph, linear: Node) -> Option<Experts> {
    let gate = only_user(g, linear)?;
    let linears = inputs(g, gate).to_vec();
    let Some(Op::Gate(of)) = op(g, gate) else { return None };
    let [x, w, route, ..] = *inputs(g, linear) else { return None };
    let used = g.shape(route).cols / 2;
    let first = weight(g, w);
    let alike = |&l: &Node| {
        let (Some(Op::ExpertLinear(one)), Some(Op::ExpertLinear(other))) = (op(g, linear), op(g, l)) else {
            return false;
        };
        let of = weight(g, inputs(g, l)[1]);
        one == other
            && only_user(g, l) == Some(gate)
            && (inputs(g, l)[0], inputs(g, l)[2]) == (x, route)
            && (of.format.id, of.rows, of.cols, of.experts)
                == (first.format.id, first.rows, first.cols, first.experts)
    };
    let halves = linears.len() == 1;
    let down = only_user(g, gate)?;
    let Some(Op::ExpertLinear(last)) = op(g, down) else { return None };
    let of_down = weight(g, inputs(g, down)[1]);
    let fits = linears.iter().all(alike)
        && linears.iter().all(|&l| l >= linears[0])
        && (linears.len() < 2 || linears[0] != linears[1])
        && (!halves || of.stretches == used)
        && g.shape(x).cols == first.cols
        && first.rows == of_down.cols * if halves { 2 } else { 1 }
        && first.experts == of_down.experts
        && (inputs(g, down)[0], inputs(g, down)[2]) == (gate, route)
        && !last.weighted;
    let combine = only_user(g, down).filter(|&n| matches!(op(g, n), Some(Op::Combine(_))))?;
    if !fits || inputs(g, combine) != [down, route] {
        return None;
    }
    // The group stands where its first product does.
    let known = |other: &Node| *other < linears[0];
    let add = only_user(g, combine).and_then(|add| Some([add, residual(g, add, combine).filter(known)?]));
    Some(Experts { norm: Some(x), linears, gate, down, combine, add })
}
