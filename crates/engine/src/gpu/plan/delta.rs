//! A gated delta net's row: its convolution in the matvec of what is convolved (`wgsl/output/convolve.wgsl`), its rule together with the norm behind it
//! (`wgsl/delta_norm.wgsl`). Of several rows each is a dispatch.

use crate::gpu::plan::copies::Copies;
use crate::gpu::plan::dispatch::{Dispatch, Extent};
use crate::gpu::plan::groups::{Group, Matmul, Then, inputs, only_user, op};
use crate::gpu::plan::kernels::{self, activation, single};
use crate::gpu::plan::lower::{along, in_place_of_biases, writes_copy};
use crate::gpu::plan::{Launch, Operand, Planner, RowClass};
use crate::graph::{Graph, Node};
use crate::ops::{DeltaRule, GatedNorm, Op, ShortConv};

/// Storage buffers of a rule with its norm.
const BUFFERS: u32 = 12;
/// Invocations of a head at most, and vectors of a column that one of them keeps.
const WORKGROUP: usize = 512;
const OWN: usize = 16;

/// The norm that alone reads what a rule gives, a head for a head, and is gated behind.
pub fn norm_of(g: &Graph, rule: Node) -> Option<Node> {
    let Some(Op::DeltaRule(delta)) = op(g, rule) else { return None };
    let norm = only_user(g, rule)?;
    let Some(Op::GatedNorm(GatedNorm { groups, gate_first: false, .. })) = op(g, norm) else { return None };
    let [x, z, _] = *inputs(g, norm) else { return None };
    (*groups == delta.v_heads && delta.width.is_multiple_of(16) && x == rule && z < rule).then_some(norm)
}

/// The convolution that alone reads a linear's sums, as they are.
pub fn convolution_of(g: &Graph, linear: Node) -> Option<Node> {
    let node = only_user(g, linear)?;
    let Some(Op::ShortConv(ShortConv { gated: false, .. })) = op(g, node) else { return None };
    (inputs(g, node).len() == 3).then_some(node)
}

/// The matmul alone, and the convolution of its sums, which only a matvec of one row computes besides.
pub fn apart(s: &Planner<'_>, group: &Group) -> Option<(Group, Node)> {
    match group {
        Group::Matmul(m) if s.class != RowClass::One => match m.then {
            Then::Convolve(node) => Some((Group::Matmul(Matmul { then: Then::Keep, ..m.clone() }), node)),
            _ => None,
        },
        _ => None,
    }
}

/// Lets a matvec of one row convolve its sums.
pub fn convolve(s: &Planner<'_>, node: Node, launch: &mut Launch) {
    let Some(Op::ShortConv(conv)) = op(s.graph, node) else { panic!("sums are convolved") };
    let &[_, taps, state] = inputs(s.graph, node) else { panic!("there is no bias") };
    in_place_of_biases(launch, Operand::Vector(taps));
    launch.operands.push((4, Operand::State(state)));
    launch.dispatch.constants.retain(|(name, _)| *name != "BIAS");
    launch.dispatch.constants.extend([
        ("TAPS", conv.taps as f64),
        ("ACTIVE", conv.act.is_some() as u32 as f64),
        ("ACT", conv.act.map_or(0.0, activation)),
    ]);
}

/// The launches of a rule and the norm behind it.
pub fn launches(s: &Planner<'_>, copies: &Copies, rule: Node, norm: Node) -> Vec<Launch> {
    if let Some(launch) = fused(s, copies, rule, norm) {
        return vec![launch];
    }
    let mut launches = kernels::plain(s, rule);
    launches.extend(along(s, copies, norm, kernels::plain(s, norm)));
    launches
}

fn fused(s: &Planner<'_>, copies: &Copies, rule: Node, norm: Node) -> Option<Launch> {
    let g = s.graph;
    let (Some(Op::DeltaRule(delta)), Some(Op::GatedNorm(gated))) = (op(g, rule), op(g, norm)) else {
        return None;
    };
    let &DeltaRule { k_heads, v_heads, width, eps } = delta;
    let (&[x, a, b, decay, bias, state], &[_, z, weight]) = (inputs(g, rule), inputs(g, norm)) else {
        return None;
    };
    let most = WORKGROUP.min(s.caps.invocations as usize);
    // As few of a column's vectors to an invocation as there are invocations for.
    let own = (1..=OWN).find(|&own| (width / 4).is_multiple_of(own) && width * (width / 4 / own) <= most)?;
    let workgroup = width * (width / 4 / own);
    if s.class != RowClass::One
        || s.caps.storage_buffers < BUFFERS
        || !workgroup.is_power_of_two()
        || workgroup < 32
    {
        return None;
    }
    let keys = k_heads * width;
    let constants = vec![
        ("HEADS", v_heads as f64),
        ("KEY_HEADS", k_heads as f64),
        ("FOURS", (width / 4) as f64),
        ("OWN", own as f64),
        ("Q_AT", 0.0),
        ("K_AT", keys as f64),
        ("V_AT", (2 * keys) as f64),
        ("DELTA_EPS", eps as f64),
        ("EPS", gated.eps as f64),
        ("WEIGHT_HEADS", (g.shape(weight).cols / width) as f64),
        ("WORKGROUP", workgroup as f64),
    ];
    let operands = [
        Operand::Step,
        Operand::Value(x),
        Operand::Value(a),
        Operand::Value(b),
        Operand::Vector(decay),
        Operand::Vector(bias),
    ];
    let extent = Extent::PerRow { rows: g.shape(norm).rows, each: v_heads as u32 };
    let mut launch = single(s, norm, Dispatch { kernel: "delta_norm", constants, extent }, &operands);
    launch.nodes = vec![rule, norm];
    launch.operands.extend([
        (8, Operand::State(state)),
        (9, Operand::Value(norm)),
        (10, Operand::Value(z)),
        (11, Operand::Vector(weight)),
    ]);
    writes_copy(g, copies, norm, &mut launch);
    Some(launch)
}
