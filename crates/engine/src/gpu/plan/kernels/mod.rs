//! The plain dispatches of each op, one file per family of kernels: here an op's fields become the numbers of a kernel.

mod attend;
mod elements;
mod embed;
mod experts;
mod linear;
mod norm;
mod recurrent;
mod rope;
mod short_conv;
mod store;

use crate::gpu::plan::dispatch::Dispatch;
use crate::gpu::plan::{Arithmetic, Launch, Operand, Planner};
use crate::graph::{Kind, Node, Rows, Shape};
use crate::ops::{Activation, Op};

pub use experts::combine;
pub use linear::matvec_constants;
pub use recurrent::chunk_bytes;

/// The dispatches that compute one node alone: more than one where its weight is in parts.
pub fn plain(s: &Planner<'_>, node: Node) -> Vec<Launch> {
    let Some((op, _)) = s.graph.entry(node).op() else { return Vec::new() };
    match op {
        Op::Embed(op) => embed::launches(s, node, op, (node, 1.0)),
        Op::RmsNorm(op) => vec![norm::rms_norm(s, node, op)],
        Op::GatedNorm(op) => vec![norm::gated_norm(s, node, op)],
        Op::LayerNorm(op) => vec![norm::layer_norm(s, node, op)],
        Op::Linear(_) => linear::launches(s, node),
        Op::Rope(op) => vec![rope::launch(s, node, op)],
        Op::Store(_) => vec![store::launch(s, node)],
        Op::Attend(op) => vec![attend::launch(s, node, op)],
        Op::Add(_) => vec![elements::launch(s, node, "add", &[])],
        Op::Gate(op) => vec![elements::gate(s, node, op)],
        Op::Unary(op) => vec![elements::launch(s, node, "unary", &[("ACT", activation(op.act))])],
        Op::Scale(op) => vec![elements::scale(s, node, op)],
        Op::Softcap(op) => vec![elements::launch(s, node, "softcap", &[("CAP", op.cap as f64)])],
        Op::Route(op) => vec![experts::route(s, node, op)],
        Op::ExpertLinear(op) => experts::linear(s, node, op),
        Op::Combine(op) => vec![experts::combine(s, node, op, None)],
        Op::GroupLinear(op) => experts::group_linear(s, node, op),
        Op::ShortConv(op) => vec![short_conv::launch(s, node, op)],
        Op::DeltaRule(op) => recurrent::delta_rule(s, node, op),
        Op::Ssd(op) => recurrent::ssd(s, node, op),
        Op::Part(op) => vec![elements::part(s, node, op)],
        Op::Select(_) => vec![elements::launch(s, node, "select", &[])],
    }
}

/// The dispatches of a table's rows and, where there is one, of their product with a number.
pub fn embed(s: &Planner<'_>, node: Node, scale: Option<Node>) -> Vec<Launch> {
    let op = |node: Node| s.graph.entry(node).op().map(|(op, _)| op);
    let Some(Op::Embed(embed)) = op(node) else { panic!("rows of a table are embedded") };
    let Some(scale) = scale else { return plain(s, node) };
    let Some(Op::Scale(by)) = op(scale) else { panic!("embedded rows are scaled") };
    let mut launches = embed::launches(s, node, embed, (scale, by.factor));
    if let Some(last) = launches.last_mut() {
        last.nodes.push(scale);
    }
    launches
}

/// The number by which kernels know an activation function (`wgsl/lib/activation.wgsl`).
pub fn activation(act: Activation) -> f64 {
    match act {
        Activation::Silu => 0.0,
        Activation::Gelu => 1.0,
        Activation::GeluErf => 2.0,
        Activation::SquaredRelu => 3.0,
        Activation::Sigmoid => 4.0,
        Activation::QuickGelu => 5.0,
    }
}

/// One dispatch without a weight matrix, bound to `operands` from binding 0 on.
pub fn single(s: &Planner<'_>, node: Node, dispatch: Dispatch, operands: &[Operand]) -> Launch {
    Launch {
        nodes: vec![node],
        dispatch,
        operands: in_order(operands),
        weight: None,
        slots: s.slots(None),
        arithmetic: Arithmetic::F32,
    }
}

/// Whether a value has a row for each output row (`wgsl/lib/rows.wgsl`).
fn output_rows(out: Shape) -> (&'static str, f64) {
    ("OUTPUT_ROWS", (out.rows == Rows::Outputs) as u32 as f64)
}

/// Bindings from 0 on.
fn in_order(operands: &[Operand]) -> Vec<(u32, Operand)> {
    (0..).zip(operands.iter().copied()).collect()
}

/// How a kernel reads a node.
fn operand(s: &Planner<'_>, node: Node) -> Operand {
    match s.graph.entry(node).kind {
        Kind::Weight(_) => Operand::Vector(node),
        Kind::Cache(_) => Operand::Cache(node),
        Kind::State(_) => Operand::State(node),
        Kind::Op { .. } => Operand::Value(node),
    }
}
