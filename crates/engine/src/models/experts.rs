//! Feed-forwards of experts: which of them a row goes to is their [`Route`]; every row may go to a shared one besides.

use crate::error::{Error, Result};
use crate::graph::Node;
use crate::models::page::{Block, Page};
use crate::ops::{Activation, Gate, Route, Scoring};

/// Experts of a model's layers.
#[derive(Clone, Debug)]
pub struct Experts {
    /// How many there are.
    pub count: usize,
    /// Width of one.
    pub ffn: usize,
    /// Width of the one that every row goes to; 0: there is none.
    pub shared: usize,
    /// Layers before the first with experts.
    pub dense: usize,
    /// Every so many layers one has experts.
    pub every: usize,
    /// How they are chosen and weighted.
    pub route: Route,
    /// Whether weights are of what an expert is given, not of what it gives.
    pub weigh_input: bool,
}

impl Experts {
    /// Experts as the file's keys have them, if it has any; what they do not say is as in `route`, and the width is `ffn`.
    pub fn read(p: &Page<'_>, ffn: usize, route: &Route) -> Result<Option<Experts>> {
        let keys = &p.w.keys;
        let count = keys.count_or_zero("expert_count")?;
        if count == 0 {
            return Ok(None);
        }
        let used = keys.count("expert_used_count")?;
        if used > count {
            let name = keys.name("expert_used_count");
            return Err(Error::Model(format!("key {name} is {used}, and there are {count} experts")));
        }
        let ffn = keys.count_or_none("expert_feed_forward_length")?.unwrap_or(ffn);
        if !ffn.is_multiple_of(4) {
            let name = keys.name("expert_feed_forward_length");
            return Err(Error::Model(format!("experts are {ffn} wide ({name}), expected a multiple of 4")));
        }
        let shared = match keys.count_or_zero("expert_shared_feed_forward_length")? {
            0 => ffn * keys.count_or_zero("expert_shared_count")?,
            width => width,
        };
        let dense = keys.count_or_zero("leading_dense_block_count")?;
        let every = keys.count_or_none("interleave_moe_layer_step")?.unwrap_or(1);
        Ok(Some(Experts {
            count,
            ffn,
            shared,
            dense,
            every,
            route: read_route(p, count, used, route)?,
            weigh_input: false,
        }))
    }

    /// Whether a layer has experts.
    pub fn in_layer(&self, layer: usize) -> bool {
        layer >= self.dense && (layer + 1).is_multiple_of(self.every)
    }
}

fn read_route(p: &Page<'_>, count: usize, used: usize, route: &Route) -> Result<Route> {
    let keys = &p.w.keys;
    let scoring = match keys.count_or_zero("expert_gating_func")? {
        0 => route.scoring,
        1 => Scoring::Softmax,
        2 => Scoring::Sigmoid,
        other => {
            let name = keys.name("expert_gating_func");
            return Err(Error::Model(format!(
                "key {name} is {other}, known are 1 (softmax) and 2 (sigmoid)"
            )));
        }
    };
    let normalise = match keys.flag("expert_weights_norm", route.normalise.is_some())? {
        true => Some(route.normalise.unwrap_or(0.0)),
        false => None,
    };
    // 0 is how converters write that there is none.
    let scale = match keys.number("expert_weights_scale")? {
        None | Some(0.0) => route.scale,
        Some(scale) => scale,
    };
    let groups = keys.count_or_zero("expert_group_count")?.max(1);
    let groups_used = keys.count_or_zero("expert_group_used_count")?.max(1);
    if !count.is_multiple_of(groups) || groups_used > groups || used > count / groups * groups_used {
        let what = format!("{groups_used} of {groups} groups of {count} experts, of which {used} are chosen");
        return Err(Error::Model(format!("keys {}.*: {what}", keys.name("expert_group"))));
    }
    let factor = route.factor;
    // Files do not say how groups compare: those who score by softmax do it as DeepSeek V2 does, others as V3.
    let group_best = if scoring == Scoring::Softmax { 1 } else { 2 };
    Ok(Route { used, scoring, factor, normalise, scale, factors: false, groups, groups_used, group_best })
}

impl Block<'_> {
    /// `x` and a feed-forward of experts of `h`, times `scale`: the shared expert's result where there is one, then the router `ffn_gate_inp`, gate,
    /// up and down of the experts that it chooses, and their weighted sum. Each is added as soon as it is there, which a GPU does on the way.
    pub fn add_experts(
        &mut self,
        x: Node,
        h: Node,
        e: &Experts,
        middle: impl Into<Gate>,
        scale: f32,
    ) -> Result<Node> {
        let middle = middle.into();
        // Weights of what experts give take the factor over.
        let (of_route, of_sum) = if e.weigh_input { (1.0, scale) } else { (scale, 1.0) };
        let e = &Experts { route: Route { scale: of_route * e.route.scale, ..e.route }, ..e.clone() };
        let mut x = x;
        if e.shared > 0 {
            let shared = self.shared_expert(h, e.shared, middle)?;
            let shared = self.scale("shared_scaled", shared, scale);
            x = self.add("shared_residual", x, shared);
        }
        let route = self.route(h, e)?;
        let y = self.routed(h, route, e, middle)?;
        let y = self.scale("ffn_scaled", y, of_sum);
        Ok(self.add("ffn_residual", x, y))
    }

    /// The choice of experts by the router `ffn_gate_inp`, with the file's bias and factors where there are such.
    pub fn route(&mut self, h: Node, e: &Experts) -> Result<Node> {
        let logits = self.linear("ffn_gate_inp", h, e.count)?;
        let mut of_each = |name: &str| match self.holds(name) {
            true => self.vector(name, e.count).map(Some),
            false => Ok(None),
        };
        let (bias, factors) = (of_each("exp_probs_b.bias")?, of_each("ffn_down_exps.scale")?);
        let route = self.g.route(logits, bias, factors, e.route);
        Ok(self.name(route, "route"))
    }

    /// What the experts of a route make of `h`, added up; gate and up may be one tensor.
    pub fn routed(&mut self, h: Node, route: Node, e: &Experts, middle: Gate) -> Result<Node> {
        let width = self.g.shape(h).cols;
        let (early, late) = (e.weigh_input, !e.weigh_input);
        let f = match self.holds("ffn_gate_up_exps.weight") {
            true => {
                let size = [e.count, 2 * e.ffn, width];
                let both = self.expert_linear("ffn_gate_up_exps", h, route, size, early)?;
                self.g.gate_halves(middle, both, e.route.used)
            }
            false => {
                let size = [e.count, e.ffn, width];
                let gate = self.expert_linear("ffn_gate_exps", h, route, size, early)?;
                let up = self.expert_linear("ffn_up_exps", h, route, size, early)?;
                self.g.gate(middle, gate, up)
            }
        };
        let f = self.name(f, "gate_exps");
        let down = self.expert_linear("ffn_down_exps", f, route, [e.count, width, e.ffn], false)?;
        let y = self.g.combine(down, route, late);
        Ok(self.name(y, "experts"))
    }

    /// `x` times `name.weight` of the experts that `route` names, plus `name.bias` where there is one; of `[experts, rows, cols]`.
    fn expert_linear(
        &mut self,
        name: &str,
        x: Node,
        route: Node,
        size: [usize; 3],
        weighted: bool,
    ) -> Result<Node> {
        let (weight, bias) = (format!("{}{name}.weight", self.at), format!("{}{name}.bias", self.at));
        let weight = self.w.experts(self.g, &weight, size)?;
        let bias = match self.w.holds(&bias) {
            true => Some(self.w.stacked_vectors(self.g, &bias, size[0], size[1])?),
            false => None,
        };
        let y = self.g.expert_linear(x, weight, route, bias, weighted);
        Ok(self.name(y, name))
    }

    /// What every row goes to besides; where the file has a gate for it, times the sigmoid of that.
    fn shared_expert(&mut self, h: Node, ffn: usize, middle: Gate) -> Result<Node> {
        let gate = self.linear("ffn_gate_shexp", h, ffn)?;
        let up = self.linear("ffn_up_shexp", h, ffn)?;
        let f = self.g.gate(middle, gate, up);
        let f = self.name(f, "gate_shexp");
        // The gate is known before what it gates, so that a GPU multiplies on the way.
        let gate = match self.holds("ffn_gate_inp_shexp.weight") {
            true => Some(self.linear("ffn_gate_inp_shexp", h, 1)?),
            false => None,
        };
        let y = self.linear("ffn_down_shexp", f, self.g.shape(h).cols)?;
        let Some(gate) = gate else { return Ok(y) };
        let y = self.g.gate(Activation::Sigmoid, gate, y);
        Ok(self.name(y, "shared_expert"))
    }
}
