//! Activations as a device rounds them, in the reference: so that kernels are held to what rounding leaves, and logits to what it costs a model.

use std::collections::HashMap;

use crate::cpu::{Cpu, Values};
use crate::gpu::Arithmetic;
use crate::graph::{Graph, Kind, Node, Step};
use crate::ops::Op;

/// The value of a node from the values of its inputs, of which those that it multiplies are rounded as a device of that arithmetic does.
pub fn compute(
    cpu: &Cpu,
    graph: &Graph,
    node: Node,
    step: &Step,
    values: &mut Values,
    arithmetic: Arithmetic,
) -> Vec<f32> {
    let Some((x, cols)) = rounded_input(graph, node, arithmetic) else {
        return cpu.compute(node, step, values);
    };
    let exact = values.remove(&x).unwrap_or_default();
    let rounded = match arithmetic {
        Arithmetic::Int8 => to_int8(&exact, cols),
        _ => exact.iter().map(|&v| to_f16(v)).collect(),
    };
    values.insert(x, rounded);
    let value = cpu.compute(node, step, values);
    values.insert(x, exact);
    value
}

/// What a step by the reference came to.
pub struct Run {
    /// Its last value.
    pub logits: Vec<f32>,
    /// What each node that chooses experts chose.
    pub routes: HashMap<Node, Vec<f32>>,
}

/// Runs a step with activations rounded all the way, where nodes are computed in `arithmetic`. The last rows go to the experts of `routes`: which of two that are
/// nearly as likely it is, any rounding decides, and the whole model is another then. Each choice is held to the reference by itself.
pub fn run(
    cpu: &mut Cpu,
    graph: &Graph,
    step: &Step,
    arithmetic: &HashMap<Node, Arithmetic>,
    routes: &HashMap<Node, Vec<f32>>,
) -> Run {
    let (mut values, mut chosen) = (Values::new(), HashMap::new());
    for (node, entry) in graph.nodes() {
        let Some((op, _)) = entry.op() else { continue };
        let of = arithmetic.get(&node).copied().unwrap_or_default();
        let mut value = compute(cpu, graph, node, step, &mut values, of);
        if matches!(op, Op::Route(_)) {
            for (value, given) in value.iter_mut().rev().zip(routes.get(&node).into_iter().flatten().rev()) {
                *value = *given;
            }
            chosen.insert(node, value.clone());
        }
        cpu.keep(node, step, &value);
        values.insert(node, value);
        super::forget(graph, Some(node), &mut values);
    }
    Run { logits: values.remove(&graph.output()).unwrap_or_default(), routes: chosen }
}

/// The largest NMSE of any row of `cols` numbers.
pub fn furthest(a: &[f32], b: &[f32], cols: usize) -> f64 {
    let rows = a.chunks_exact(cols).zip(b.chunks_exact(cols));
    rows.map(|(a, b)| super::nmse(a, b)).fold(0.0, f64::max)
}

/// The input of a product that a launch multiplies in int8 or f16, and how long its rows are: in int8 where the weight's format has integers, as planning
/// decides. Queries are multiplied in f16, too.
fn rounded_input(graph: &Graph, node: Node, arithmetic: Arithmetic) -> Option<(Node, usize)> {
    let (op, inputs) = graph.entry(node).op()?;
    let weight = inputs.get(1).and_then(|&w| match &graph.entry(w).kind {
        Kind::Weight(w) => Some(w),
        _ => None,
    });
    let rounds = match (op, weight, arithmetic) {
        (Op::Linear(_) | Op::ExpertLinear(_), Some(w), Arithmetic::Int8) => {
            w.format.integer && w.cols.is_multiple_of(32)
        }
        (Op::Linear(_) | Op::ExpertLinear(_), Some(_), Arithmetic::F16) => true,
        (Op::Attend(_), _, Arithmetic::F16) => true,
        _ => false,
    };
    rounds.then(|| (inputs[0], weight.map_or(graph.shape(inputs[0]).cols, |w| w.cols)))
}

/// What is left of activations in int8, in blocks of 16 with a step of 1/127 of their largest: `wgsl/copy/i8.wgsl`.
fn to_int8(x: &[f32], cols: usize) -> Vec<f32> {
    let mut rounded = x.to_vec();
    for block in rounded.chunks_exact_mut(cols.max(1)).flat_map(|row| row.chunks_mut(16)) {
        let largest = block.iter().fold(0.0f32, |most, v| most.max(v.abs()));
        let steps = if largest > 0.0 { 127.0 / largest } else { 0.0 };
        for v in block {
            *v = (steps * *v).round_ties_even() * (largest / 127.0);
        }
    }
    rounded
}

/// What is left of a number in f16 whose exponent has room: a row's scale sees to that.
fn to_f16(x: f32) -> f32 {
    let bits = x.to_bits();
    match x.is_finite() {
        true => f32::from_bits((bits + 0x0fff + (bits >> 13 & 1)) & !0x1fff),
        false => x,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f16_has_eleven_bits_and_ties_go_to_even() {
        assert_eq!(to_f16(1.0), 1.0);
        assert_eq!(to_f16(-1.0 - 2f32.powi(-11)), -1.0);
        assert_eq!(to_f16(1.0 + 3.0 * 2f32.powi(-11)), 1.0 + 2f32.powi(-9));
        assert_eq!(to_f16(2f32.powi(100) * (1.0 + 2f32.powi(-10))), 2f32.powi(100) * (1.0 + 2f32.powi(-10)));
        assert!(to_f16(f32::NAN).is_nan());
    }

    #[test]
    fn int8_has_steps_of_a_blocks_largest() {
        let mut x = vec![0.0; 32];
        (x[0], x[1], x[16]) = (127.0, 1.4, 1.4);
        let rounded = to_int8(&x, 32);
        assert_eq!((rounded[0], rounded[1], rounded[16]), (127.0, 1.0, 1.4));
    }

    #[test]
    fn the_furthest_row_counts() {
        assert_eq!(furthest(&[1.0, 0.0, 2.0, 0.0], &[1.0, 0.0, 1.0, 0.0], 2), 0.25);
    }
}
