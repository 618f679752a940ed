//! How a model makes nodes: a method for each way in which models use an op.

use super::{Graph, Holds, Kind, Node};
use crate::ops::{
    Activation, Add, Attend, AttentionShape, Combine, DeltaRule, Embed, ExpertLinear, Gate, GatedNorm,
    GroupLinear, Index, LayerNorm, Linear, Part, RmsNorm, Rope, RopeShape, Route, Scale, Select, ShortConv,
    Softcap, Ssd, Store, Unary,
};

impl Graph {
    /// The rows of `table` that the step's tokens or positions name.
    pub fn embed(&mut self, table: Node, by: Index) -> Node {
        self.op(Embed { by }, &[table])
    }

    /// Root-mean-square normalisation of each row.
    pub fn rms_norm(&mut self, x: Node, weight: Node, eps: f32) -> Node {
        self.op(RmsNorm { eps, groups: 1, rest: 0 }, &[x, weight])
    }

    /// Root-mean-square normalisation of each of the `groups` stretches of a row; all are weighted alike.
    pub fn group_norm(&mut self, x: Node, weight: Option<Node>, groups: usize, eps: f32) -> Node {
        let inputs: Vec<Node> = [Some(x), weight].into_iter().flatten().collect();
        self.op(RmsNorm { eps, groups, rest: 0 }, &inputs)
    }

    /// Root-mean-square normalisation of the first numbers of each row, as many as `weight` has; what follows stays.
    pub fn front_norm(&mut self, x: Node, weight: Node, eps: f32) -> Node {
        let rest = self.shape(x).cols - self.shape(weight).cols;
        self.op(RmsNorm { eps, groups: 1, rest }, &[x, weight])
    }

    /// Normalisation of each row to mean 0 and variance 1, then scale, and bias where there is one.
    pub fn layer_norm(&mut self, x: Node, weight: Node, bias: Option<Node>, eps: f32) -> Node {
        let inputs: Vec<Node> = [Some(x), Some(weight), bias].into_iter().flatten().collect();
        self.op(LayerNorm { eps }, &inputs)
    }

    /// `x · Wᵀ (+ b)`.
    pub fn linear(&mut self, x: Node, weight: Node, bias: Option<Node>) -> Node {
        let inputs: Vec<Node> = [Some(x), Some(weight), bias].into_iter().flatten().collect();
        self.op(Linear, &inputs)
    }

    /// Rotary positions; `factors` divide the frequencies (Llama 3.1's `rope_freqs`).
    pub fn rope(&mut self, x: Node, factors: Option<Node>, shape: RopeShape) -> Node {
        let inputs: Vec<Node> = [Some(x), factors].into_iter().flatten().collect();
        self.op(Rope(shape), &inputs)
    }

    /// Writes k and v into caches of their own: these.
    pub fn store(&mut self, k: Node, v: Node, shape: AttentionShape) -> [Node; 2] {
        let keys = self.cache("cache_k", Holds::Keys, shape);
        let values = self.cache("cache_v", Holds::Values, shape);
        let stored = self.op(Store, &[k, keys]);
        self.name(stored, "store_k");
        let stored = self.op(Store, &[v, values]);
        self.name(stored, "store_v");
        [keys, values]
    }

    /// Attends to what is in caches of keys and values, with a sink for each head where there are any.
    pub fn attend(
        &mut self,
        q: Node,
        [keys, values]: [Node; 2],
        sinks: Option<Node>,
        shape: AttentionShape,
    ) -> Node {
        let inputs: Vec<Node> = [Some(q), Some(keys), Some(values), sinks].into_iter().flatten().collect();
        self.op(Attend(shape), &inputs)
    }

    /// Writes k and v into caches of their own and attends to these.
    pub fn attention(&mut self, q: Node, k: Node, v: Node, shape: AttentionShape) -> Node {
        let caches = self.store(k, v, shape);
        self.attend(q, caches, None, shape)
    }

    /// `a + b`.
    pub fn add(&mut self, a: Node, b: Node) -> Node {
        self.op(Add, &[a, b])
    }

    /// `act(gate) · up`, each clamped before where the gate says so.
    pub fn gate(&mut self, of: impl Into<Gate>, gate: Node, up: Node) -> Node {
        self.op(of.into(), &[gate, up])
    }

    /// The same of rows of `stretches` of gate and then up.
    pub fn gate_halves(&mut self, of: impl Into<Gate>, x: Node, stretches: usize) -> Node {
        self.op(Gate { stretches, ..of.into() }, &[x])
    }

    /// `act(x)`.
    pub fn unary(&mut self, act: Activation, x: Node) -> Node {
        self.op(Unary { act }, &[x])
    }

    /// `factor · x`.
    pub fn scale(&mut self, x: Node, factor: f32) -> Node {
        self.op(Scale { factor }, &[x])
    }

    /// `w · x`, w a weight of one number.
    pub fn scale_by(&mut self, x: Node, w: Node) -> Node {
        self.op(Scale { factor: 1.0 }, &[x, w])
    }

    /// `cap · tanh(x / cap)`.
    pub fn softcap(&mut self, x: Node, cap: f32) -> Node {
        self.op(Softcap { cap }, &[x])
    }

    /// The experts of each row by a router's logits, with a bias for the choice alone and with a factor of each expert's weight where there are
    /// such.
    pub fn route(&mut self, logits: Node, bias: Option<Node>, factors: Option<Node>, route: Route) -> Node {
        let inputs: Vec<Node> = [Some(logits), bias, factors].into_iter().flatten().collect();
        self.op(Route { factors: factors.is_some(), ..route }, &inputs)
    }

    /// The products of rows, or of one part of them for each expert, with the experts of `weight` that `route` names; `weighted`: times the
    /// weights of the route.
    pub fn expert_linear(
        &mut self,
        x: Node,
        weight: Node,
        route: Node,
        bias: Option<Node>,
        weighted: bool,
    ) -> Node {
        let experts = match &self.entry(weight).kind {
            Kind::Weight(weight) => weight.experts,
            _ => 1,
        };
        let used = self.shape(route).cols / 2;
        let inputs: Vec<Node> = [Some(x), Some(weight), Some(route), bias].into_iter().flatten().collect();
        self.op(ExpertLinear { experts, used, weighted }, &inputs)
    }

    /// The sum of what a row's experts gave; `weighted`: by the route.
    pub fn combine(&mut self, x: Node, route: Node, weighted: bool) -> Node {
        let used = self.shape(route).cols / 2;
        self.op(Combine { used, weighted }, &[x, route])
    }

    /// Some numbers of each group of a row.
    pub fn part(&mut self, x: Node, part: Part) -> Node {
        self.op(part, &[x])
    }

    /// A causal convolution over the positions of a slot; the weight is `[channels, taps]` as one row.
    pub fn short_conv(&mut self, x: Node, weight: Node, bias: Option<Node>, conv: ShortConv) -> Node {
        let state = self.state("state_conv", conv.memory(self.shape(x).cols));
        let inputs: Vec<Node> = [Some(x), Some(weight), bias, Some(state)].into_iter().flatten().collect();
        self.op(conv, &inputs)
    }

    /// The gated delta rule over rows [q | k | v]; a and b are of each row and head of v, decay and bias weights of each head.
    pub fn delta_rule(
        &mut self,
        x: Node,
        [a, b]: [Node; 2],
        [decay, bias]: [Node; 2],
        rule: DeltaRule,
    ) -> Node {
        let state = self.state("state_delta", rule.memory());
        self.op(rule, &[x, a, b, decay, bias, state])
    }

    /// Mamba-2's recurrence over rows [x | B | C]; dt is of each row and head, decay, bias and D weights of each head.
    pub fn ssd(&mut self, x: Node, dt: Node, [decay, bias, through]: [Node; 3], ssd: Ssd) -> Node {
        let state = self.state("state_ssd", ssd.memory());
        self.op(ssd, &[x, dt, decay, bias, through, state])
    }

    /// A norm of each group of a row and a gate; the weight is as long as a group or as a row.
    pub fn gated_norm(&mut self, x: Node, z: Node, weight: Node, norm: GatedNorm) -> Node {
        self.op(norm, &[x, z, weight])
    }

    /// The products of each stretch of a row with a matrix of its own, of which `weight` has one for each; `keep_rest`: what of a stretch is not
    /// multiplied follows them.
    pub fn group_linear(&mut self, x: Node, weight: Node, keep_rest: bool) -> Node {
        let groups = match &self.entry(weight).kind {
            Kind::Weight(weight) => weight.experts,
            _ => 1,
        };
        self.op(GroupLinear { groups, keep_rest }, &[x, weight])
    }

    /// Only the rows whose logits are asked for: what follows is computed for these alone.
    pub fn output_rows(&mut self, x: Node) -> Node {
        self.op(Select, &[x])
    }
}
