//! Attention of one row: how its positions are spread over workgroups.

use crate::gpu::dispatch::{Dispatch, Extent};
use crate::gpu::fuse::{copy_of, copy_operands};
use crate::gpu::kv_layout;
use crate::gpu::link::Slots;
use crate::gpu::plan::{Launch, Operand, Planner, RowClass};
use crate::graph::Node;
use crate::ops::Op;

/// Numbers of keys that one workgroup of a head reads faster than spans are joined: 1,024 positions of 64, or 512 of 128.
const SHORT_NUMBERS: u32 = 64 << 10;
/// Positions that it has room for.
const SHORT: u32 = 1024;
/// Positions of a span beyond that, and invocations of its workgroup.
pub const SPAN: u32 = 128;
/// Heads that a workgroup attends for, at most.
const SHARE: u32 = 4;
/// Workgroups of a head that join its spans, at most.
const SLICES: u32 = 4;

/// Attention of one row: of short sequences in one dispatch, a workgroup for each head; of longer ones in spans, whose workgroups share
/// the keys and values that several heads read, and a dispatch that joins them. Both write the copy for the matvec behind.
pub fn one_row(s: &Planner<'_>, node: Node) -> Option<Vec<Launch>> {
    let g = s.graph;
    let Some((Op::Attend(op), ins)) = g.entry(node).op() else { return None };
    let shape = &op.0;
    let [heads, kv_heads, head_dim] = [shape.heads, shape.kv_heads, shape.head_dim].map(|n| n as u32);
    let width = s.caps.invocations.min(256);
    let fours = head_dim / 4;
    if fours > width || shape.softcap > 0.0 {
        return None;
    }
    // Heads that share keys and values, as many as a workgroup takes.
    let ratio = heads / kv_heads;
    let share = (1..=ratio.min(SHARE)).rev().find(|n| ratio.is_multiple_of(*n))?;
    // A workgroup writes whole blocks of a copy.
    let slices = (1..=SLICES).rev().find(|n| head_dim.is_multiple_of(16 * n)).unwrap_or(1);
    let most = (SHORT_NUMBERS / head_dim).min(SHORT);
    // What is asked for before the step is read is where a lone slot's pages lie in order.
    let eager = (!s.caps.software && s.in_order) as u32 as f64;
    let single = (s.class == RowClass::One) as u32;
    let mut of_all = vec![
        ("HEADS", heads as f64),
        ("FOURS", fours as f64),
        ("WINDOW", shape.window as f64),
        ("EAGER", eager),
    ];
    of_all.extend(s.caps.subgroup_constant());
    let mut of_cache = vec![("KV_HEADS", kv_heads as f64), ("SCALE", shape.scale as f64)];
    of_cache.extend(kv_layout::constants(g, ins[1]));
    let dispatch = |kernel: &'static str, cache: bool, numbers: &[(&'static str, u32)], extent: Extent| {
        let mut constants = of_all.clone();
        constants.extend(of_cache.iter().filter(|_| cache));
        constants.extend(numbers.iter().map(|&(name, n)| (name, n as f64)));
        Dispatch { kernel, constants, extent }
    };
    let copy = copy_of(s, node).filter(|_| head_dim.is_multiple_of(16));
    let slots = |copy| Slots { copy: Some(copy), ..s.slots(None) };
    let launches =
        |mut dispatch: Dispatch, mut operands: Vec<(u32, Operand)>, nodes: Vec<Node>, last: bool| {
            let mut kind = "none";
            if last && let Some((of, copy)) = copy {
                kind = copy;
                copy_operands(g, of, copy, g.shape(node).cols, &mut dispatch, &mut operands);
            }
            Launch { nodes, dispatch, operands, weight: None, slots: slots(kind) }
        };
    let reads = |y: Operand| {
        let (keys, values) = (Operand::Cache(ins[1]), Operand::Cache(ins[2]));
        vec![
            (0, Operand::Step),
            (1, Operand::Value(ins[0])),
            (2, y),
            (4, keys),
            (5, values),
            (8, Operand::Pages),
        ]
    };
    let joined = vec![(0, Operand::Step), (1, Operand::Partials(node)), (2, Operand::Value(node))];
    let short = Extent::Spans { x: heads, span: 0, window: 0, from: 0, below: most };
    let spans =
        Extent::Spans { x: heads / share, span: SPAN, window: shape.window, from: most, below: u32::MAX };
    let join = Extent::Spans { x: heads * slices, span: 0, window: 0, from: most, below: u32::MAX };
    let of_short = [("HEAD_DIM", head_dim), ("SPAN", most), ("WORKGROUP", width)];
    let of_spans =
        [("PARTS", 1), ("SHARE", share), ("SPAN", SPAN), ("WORKGROUP", width.min(SPAN).max(fours))];
    let of_join = [
        ("HEAD_DIM", head_dim),
        ("SPAN", SPAN),
        ("SLICES", slices),
        ("SINGLE", single),
        ("WORKGROUP", width),
    ];
    Some(vec![
        launches(
            dispatch("attend_decode", true, &of_short, short),
            reads(Operand::Value(node)),
            Vec::new(),
            true,
        ),
        launches(
            dispatch("attend_partial", true, &of_spans, spans),
            reads(Operand::Partials(node)),
            Vec::new(),
            false,
        ),
        launches(dispatch("attend_combine", false, &of_join, join), joined, vec![node], true),
    ])
}
