//! Attention of one row: how its positions are spread over workgroups.

use crate::gpu::fuse::{twin_of, twin_operands};
use crate::gpu::link::Slots;
use crate::gpu::plan::{Operand, Planned, Setting};
use crate::graph::{Node, Shape};
use crate::ops::{Dispatch, Extent};

/// Positions below which one workgroup attends to all of them for a head: that many are read faster than spans are joined.
const SHORT: u32 = 512;
/// Positions of a span beyond that.
pub const SPAN: u32 = 128;
/// Heads that a workgroup keeps sums for.
const SHARE: u32 = 4;
/// Products that a workgroup keeps: 16 KiB.
const PRODUCTS: u32 = 4096;

/// Attention of one row: of short sequences in one dispatch, a workgroup for each head; of longer ones in spans, whose workgroups share
/// the keys and values that several heads read, and a dispatch that joins them. Both write the twin for the matvec behind.
pub fn one_row(s: &Setting<'_>, node: Node) -> Option<Vec<Planned>> {
    let g = s.graph;
    let (op, ins) = g.entry(node).op()?;
    let shapes: Vec<Shape> = ins.iter().map(|&i| g.shape(i)).collect();
    let mut constants = op.constants(&shapes);
    let number = |name: &str| constants.iter().find(|(n, _)| *n == name).map_or(0, |(_, v)| *v as u32);
    let (heads, kv_heads, head_dim) = (number("HEADS"), number("KV_HEADS"), number("HEAD_DIM"));
    let width = s.caps.invocations.min(256);
    let quarters = (head_dim / 4).div_ceil(4);
    if head_dim / 4 > width || quarters * SPAN > PRODUCTS {
        return None;
    }
    // Heads that share keys and values, as many as a workgroup has room for.
    let ratio = heads / kv_heads;
    let most = SHARE.min(PRODUCTS / (quarters * SPAN));
    let share = (1..=ratio.min(most)).rev().find(|n| ratio.is_multiple_of(*n))?;
    let below = SHORT.min(PRODUCTS / quarters);
    constants.extend([
        ("FOURS", (head_dim / 4) as f64),
        ("QUARTERS", quarters as f64),
        ("CONTEXT", s.context as f64),
        ("WORKGROUP", width as f64),
        ("TEAM", if s.caps.team_fixed { s.caps.team as f64 } else { 0.0 }),
    ]);
    let dispatch = |kernel: &'static str, share: u32, span: u32, partial: bool, extent: Extent| {
        let mut constants = constants.clone();
        constants.extend([
            ("SHARE", share as f64),
            ("SPAN", span as f64),
            ("SCORES", (share * span) as f64),
            ("PRODUCTS", (share * span * quarters) as f64),
            ("PARTIAL", partial as u32 as f64),
        ]);
        Dispatch { kernel, constants, extent }
    };
    // A workgroup writes whole blocks of a twin, and has one head.
    let twin = twin_of(s, node).filter(|_| head_dim.is_multiple_of(16));
    let slots = |twin| Slots { twin: Some(twin), ..s.slots(None) };
    let planned =
        |mut dispatch: Dispatch, mut operands: Vec<(u32, Operand)>, nodes: Vec<Node>, last: bool| {
            let mut kind = "none";
            if last && let Some((of, twin)) = twin {
                kind = twin;
                twin_operands(g, of, g.shape(node).cols, &mut dispatch, &mut operands);
            }
            Planned { nodes, dispatch, operands, weight: None, slots: slots(kind) }
        };
    let reads = |y: Operand| {
        let (keys, values) = (Operand::Cache(ins[1]), Operand::Cache(ins[2]));
        vec![(0, Operand::Step), (1, Operand::Value(ins[0])), (2, y), (4, keys), (5, values)]
    };
    let short = Extent::Spans { x: heads, span: 0, from: 0, below };
    let spans = Extent::Spans { x: heads / share, span: SPAN, from: below, below: u32::MAX };
    let join = Extent::Spans { x: heads, span: 0, from: below, below: u32::MAX };
    let joined = vec![(0, Operand::Step), (1, Operand::Partials(node)), (2, Operand::Value(node))];
    Some(vec![
        planned(
            dispatch("attend_one", 1, below, false, short),
            reads(Operand::Value(node)),
            Vec::new(),
            true,
        ),
        planned(
            dispatch("attend_one", share, SPAN, true, spans),
            reads(Operand::Partials(node)),
            Vec::new(),
            false,
        ),
        planned(dispatch("attend_join", 1, SPAN, false, join), joined, vec![node], true),
    ])
}
