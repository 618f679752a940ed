//! Attention of one row or few: how their positions are spread over workgroups.

use crate::gpu::memory::kv_layout;
use crate::gpu::plan::copies::Copies;
use crate::gpu::plan::dispatch::{Dispatch, Extent};
use crate::gpu::plan::groups::{Attention, op};
use crate::gpu::plan::heads::Heads;
use crate::gpu::plan::lower::writes_copy;
use crate::gpu::plan::projections::joined;
use crate::gpu::plan::{Arithmetic, Launch, Operand, Planner, RowClass};
use crate::graph::{Graph, Node};
use crate::memory::PAGE;
use crate::ops::{AttentionShape, Op, Temperature};

/// Numbers of keys that one workgroup of a head reads faster than spans are joined: 1,024 positions of 64, or 512 of 128.
const SHORT_NUMBERS: u32 = 64 << 10;
/// Positions that it has room for.
const SHORT: u32 = 1024;
/// Invocations of a workgroup of a span, and half of those where heads are large.
const WIDTH: u32 = 128;
const LARGE: u32 = 256;
/// Fours of keys, and of values, that an invocation of a span asks for at once: `AHEAD` of `attend_partial.wgsl`.
const AHEAD: u32 = 16;
/// Invocations of the smallest subgroup that there is.
const SMALLEST_SUBGROUP: u32 = 4;
/// Lines of invocations from which on a subgroup adds up the sums of two.
const MANY_LINES: u32 = 16;
/// Heads that a workgroup attends for, at most.
const SHARE: u32 = 4;
/// Workgroups of a head that join its spans, at most.
const SLICES: u32 = 4;

/// Whether the kernels of few rows compute this attention.
pub fn fits(s: &Planner<'_>, node: Node) -> bool {
    let Some(Op::Attend(op)) = op(s.graph, node) else { return false };
    let (head_dim, fours) = (op.0.head_dim as u32, op.0.head_dim as u32 / 4);
    fours <= width(s)
        && op.0.softcap == 0.0
        && partial_bytes(1, fours, value_scales(s, head_dim), &spread(s, head_dim)) <= s.caps.workgroup_bytes
}

/// Whether they can write a copy of its value: a workgroup writes whole blocks.
pub fn writes_copies(s: &Planner<'_>, node: Node) -> bool {
    matches!(op(s.graph, node), Some(Op::Attend(op)) if op.0.head_dim.is_multiple_of(16))
}

/// Whether the dispatch of short sequences does what stands between its projections and itself: a row of invocations has three heads, or one where keys and
/// values are an earlier layer's, and there is room for that.
pub fn takes_projections(s: &Planner<'_>, heads: &Heads) -> bool {
    let node = heads.attend;
    let Some(Op::Attend(op)) = op(s.graph, node) else { return false };
    let count = if heads.own.is_some() { 3 } else { 1 };
    let head_dim = op.0.head_dim as u32;
    let has_room = || {
        let short = short(s, head_dim, true);
        short.most > 0 && count * head_dim / 4 <= short.width
    };
    fits(s, node) && writes_copies(s, node) && has_room()
}

/// How the heads of such a node attend.
pub fn shape_of(graph: &Graph, node: Node) -> &AttentionShape {
    let Some(Op::Attend(op)) = op(graph, node) else { panic!("attention is an attend") };
    &op.0
}

/// The workgroups of what is only there for longer sequences, `each` for a row.
pub fn long(s: &Planner<'_>, node: Node, each: u32) -> Extent {
    let shape = shape_of(s.graph, node);
    let from = short(s, shape.head_dim as u32, true).most;
    Extent::Spans { x: each, span: 0, shape: *shape, from, below: u32::MAX }
}

/// How one dispatch attends to a short sequence.
#[derive(Clone, Copy)]
struct Short {
    /// Positions at most; 0: longer ones' two dispatches are for all.
    most: u32,
    /// Invocations of a workgroup.
    width: u32,
    /// Invocations that multiply a key.
    parts: u32,
    /// Workgroups of a head, each of which adds up some of the numbers of its values.
    slices: u32,
    /// Values that an invocation asks for at once.
    at_once: u32,
}

/// What a processor loads of keys and values is what large heads wait for: of one row several workgroups share a head's values, and large
/// ones its keys. More rows fill a GPU without, and a program does nothing twice. Of heads that fit; `projected`: it makes its queries, too.
fn short(s: &Planner<'_>, head_dim: u32, projected: bool) -> Short {
    let narrow =
        Short { most: 0, width: width(s), parts: short_parts(head_dim, 64, 4), slices: 1, at_once: 8 };
    let sliced = |most: u32| (1..=most).rev().find(|n| head_dim.is_multiple_of(16 * n)).unwrap_or(1);
    let wide = match head_dim {
        LARGE.. => Short {
            width: 2 * width(s),
            parts: short_parts(head_dim, 32, 8),
            slices: sliced(4),
            at_once: 4,
            ..narrow
        },
        _ => Short { slices: sliced(2), at_once: 4, ..narrow },
    };
    let longest = |short: &Short| {
        let Short { width, parts, slices, at_once, .. } = *short;
        let most = (SHORT_NUMBERS / head_dim).min(SHORT).max(width / parts).max(self::width(s));
        let fours = head_dim / 4;
        let weights = 8 * most.next_multiple_of(at_once * (width * slices / fours));
        let plain = if s.caps.subgroups { 0 } else { 16 * width };
        let projected = if projected { 48 * fours + 20 * width.div_ceil(4) } else { 0 };
        let others = 4 * ((parts - 1) * most + 1) + 8 * width.div_ceil(4) + 16 * width;
        (width <= s.caps.invocations && weights + others + plain + projected <= s.caps.workgroup_bytes)
            .then_some(most)
    };
    let alone = s.class == RowClass::One && !s.caps.software;
    let mut shorts = alone.then_some(wide).into_iter().chain([narrow]);
    shorts.find_map(|short| Some(Short { most: longest(&short)?, ..short })).unwrap_or(narrow)
}

/// Invocations that multiply a key of a short sequence, at most so many: one for each `numbers`.
fn short_parts(head_dim: u32, numbers: u32, most: u32) -> u32 {
    let most = (head_dim / numbers).clamp(1, most);
    (1..=most).rev().find(|parts| (head_dim / 4).is_multiple_of(*parts)).unwrap_or(1)
}

/// The numbers of `wgsl/lib/seen.wgsl`.
pub fn seen(shape: &AttentionShape) -> [(&'static str, f64); 2] {
    [("WINDOW", shape.window as f64), ("CHUNK", shape.chunk as f64)]
}

/// The numbers of `wgsl/lib/score_scale.wgsl`.
pub fn score_scale(shape: &AttentionShape) -> [(&'static str, f64); 4] {
    let growth = shape.temperature.unwrap_or(Temperature { scale: 0.0, length: 1, ahead: 0 });
    [
        ("SCALE", shape.scale as f64),
        ("GROWTH", growth.scale as f64),
        ("GROWTH_LENGTH", growth.length as f64),
        ("GROWTH_AHEAD", growth.ahead as f64),
    ]
}

/// Elements of scales behind the values of a head.
fn value_scales(s: &Planner<'_>, head_dim: u32) -> u32 {
    (s.kv.values.scales)(head_dim as usize) as u32
}

fn width(s: &Planner<'_>) -> u32 {
    s.caps.invocations.min(256)
}

/// How spans of an attention are spread over invocations.
struct Spread {
    /// Positions that are attended to at once.
    turn: u32,
    /// Invocations that multiply a key.
    parts: u32,
    /// Positions whose values are added up side by side.
    lines: u32,
    /// Invocations of a workgroup.
    width: u32,
}

/// An invocation has no more of a key than it asks for at once, if subgroups are large enough for that, nor of values.
fn spread(s: &Planner<'_>, head_dim: u32) -> Spread {
    let fours = head_dim / 4;
    let width = width(s).min(if head_dim < LARGE { WIDTH } else { 2 * WIDTH });
    let smallest = if s.caps.subgroup_size_fixed { s.caps.subgroup_size } else { SMALLEST_SUBGROUP };
    let parts = fours.div_ceil(AHEAD).next_power_of_two().min(smallest);
    let lines = (1 << (width / fours).ilog2()).min(PAGE as u32);
    Spread { turn: (width / parts).min(AHEAD * lines), parts, lines, width }
}

/// The least number of positions of a span: of a lone sequence that is not long.
const SHORTEST_SPAN: u32 = 64;
/// Positions of a span of a longer one, whose workgroups are so many that they wait for each other; where there would be too many, four times as many.
const SPAN: u32 = 128;
/// Positions from which on a sequence is long.
const MANY: u32 = 2048;

/// Positions that a row sees at most.
fn seen_at_most(shape: &AttentionShape, context: usize) -> u32 {
    let limits = [shape.window, shape.chunk].into_iter().filter(|&most| most > 0);
    limits.fold(u32::try_from(context).unwrap_or(u32::MAX), u32::min)
}

/// Spans of a row at most, so that what is kept of them does not grow with the context: those of one row fill a GPU, several rows do it
/// with fewer of each.
fn most_of(class: RowClass) -> u32 {
    if class == RowClass::One { 128 } else { 32 }
}

/// Spans of a row that there must be room for.
pub fn most_spans(class: RowClass, shape: &AttentionShape, context: usize) -> usize {
    // One more where the first seen position is in the middle of one.
    seen_at_most(shape, context).div_ceil(SHORTEST_SPAN).min(most_of(class)) as usize + 1
}

/// How long spans are, and for sequences whose last position is where: from a position on, and below another.
fn spans(class: RowClass, seen: u32, turn: u32, mut from: u32) -> Vec<(u32, u32, u32)> {
    let (most, shortest) = (most_of(class), turn.clamp(SHORTEST_SPAN, SPAN));
    let mut all = Vec::new();
    if class == RowClass::One && shortest < SPAN {
        if seen <= MANY {
            return vec![(shortest, from, u32::MAX)];
        }
        all.push((shortest, from, MANY));
        from = MANY;
    }
    let mut span = SPAN;
    while span.saturating_mul(most) < seen {
        all.push((span, from, span * most));
        from = span * most;
        span *= 4;
    }
    all.push((span, from, u32::MAX));
    all
}

/// Bytes of workgroup memory of `attend_partial.wgsl` for `share` heads of `fours` vectors with `scales` elements of scales.
fn partial_bytes(share: u32, fours: u32, scales: u32, spread: &Spread) -> u32 {
    let &Spread { turn, parts, width, .. } = spread;
    let (query, weights, factors) = (16 * share * (fours + 2 * parts), 16 * turn, 8 * (turn * scales).max(1));
    // Without subgroups their sums are a vector for each invocation.
    let sums = 16 * share * width + 2 * 16 * width.div_ceil(4) + 16 * width;
    query + weights + factors + sums
}

/// Attention of few rows: of short sequences in one dispatch, a workgroup for each row and head; of longer ones in spans, whose
/// workgroups share the keys and values that several heads read, and a dispatch that joins them. Both write the copy for the matvec behind.
/// The one for short sequences comes first.
pub fn launches(s: &Planner<'_>, copies: &Copies, attention: &Attention) -> Vec<Launch> {
    let (g, node) = (s.graph, attention.attend);
    let Some((Op::Attend(op), ins)) = g.entry(node).op() else { panic!("attention is an attend") };
    let shape = &op.0;
    let [heads, kv_heads, head_dim] = [shape.heads, shape.kv_heads, shape.head_dim].map(|n| n as u32);
    let width = width(s);
    let fours = head_dim / 4;
    let spread = spread(s, head_dim);
    // Heads that share keys and values, as many as a workgroup takes and has memory for.
    let ratio = heads / kv_heads;
    let scales = value_scales(s, head_dim);
    let room = |n: &u32| partial_bytes(*n, fours, scales, &spread) <= s.caps.workgroup_bytes;
    let share = (1..=ratio.min(SHARE)).rev().find(|n| ratio.is_multiple_of(*n) && room(n)).unwrap_or(1);
    // A workgroup writes whole blocks of a copy.
    let slices = (1..=SLICES).rev().find(|n| head_dim.is_multiple_of(16 * n)).unwrap_or(1);
    let joined = attention.projections.as_ref().is_some_and(|m| joined(s, m).is_some());
    let of_short = short(s, head_dim, joined);
    let most = of_short.most;
    // What is asked for before the step is read is where a lone slot's pages lie in order.
    let eager = (!s.caps.software && s.in_order) as u32 as f64;
    let single = (s.class == RowClass::One) as u32;
    let mut of_all = vec![
        ("HEADS", heads as f64),
        ("STRIDE", g.shape(node).stride() as f64),
        ("FOURS", fours as f64),
        ("EAGER", eager),
    ];
    of_all.extend(seen(shape));
    of_all.extend(s.caps.subgroup_constant());
    let mut of_cache = vec![("KV_HEADS", kv_heads as f64)];
    of_cache.extend(score_scale(shape));
    of_cache.extend(kv_layout::constants(g, s.kv, ins[1]));
    let dispatch = |kernel: &'static str, cache: bool, numbers: &[(&'static str, u32)], extent: Extent| {
        let mut constants = of_all.clone();
        constants.extend(of_cache.iter().filter(|_| cache));
        constants.extend(numbers.iter().map(|&(name, n)| (name, n as f64)));
        Dispatch { kernel, constants, extent }
    };
    let launch = |dispatch: Dispatch, operands: Vec<(u32, Operand)>, nodes: Vec<Node>, last: bool| {
        let mut launch = Launch {
            nodes,
            dispatch,
            operands,
            weight: None,
            slots: s.slots(None),
            arithmetic: Arithmetic::F32,
        };
        if last {
            writes_copy(g, copies, attention.value(), &mut launch);
        }
        launch
    };
    // A span knows nothing of the sinks: whoever finishes a head adds them.
    let sinks = (3, ins.get(3).map_or(Operand::Nothing, |&sinks| Operand::Vector(sinks)));
    let with_sinks = ("SINKS", ins.len() as u32 - 3);
    let gates = (9, attention.gates().map_or(Operand::Nothing, |gates| Operand::Value(gates.gates)));
    let gated = ("GATED", attention.gates().is_some() as u32);
    let value = Operand::Value(attention.value());
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
    let parts_joined = vec![(0, Operand::Step), (1, Operand::Partials(node)), (2, value), sinks, gates];
    let mut all = Vec::new();
    if most > 0 {
        let Short { width, parts, slices, at_once, .. } = of_short;
        let line = fours / slices;
        let joins = s.caps.subgroup_size_fixed && line.is_power_of_two() && 2 * line <= s.caps.subgroup_size;
        let joined = if joins && width / line > MANY_LINES { 2 } else { 1 };
        let numbers = [
            ("HEAD_DIM", head_dim),
            ("SPAN", most),
            ("PARTS", parts),
            ("SLICES", slices),
            ("AT_ONCE", at_once),
            ("JOINED", joined),
            ("WORKGROUP", width),
            with_sinks,
            gated,
        ];
        let extent = Extent::Spans { x: heads * slices, span: 0, shape: *shape, from: 0, below: most };
        let dispatch = dispatch("attend_decode", true, &numbers, extent);
        let mut operands = reads(value);
        operands.extend([sinks, gates]);
        let mut launch = launch(dispatch, operands, attention.nodes(), true);
        launch.slots.queries = Some("ready");
        all.push(launch);
    }
    for (span, from, below) in spans(s.class, seen_at_most(shape, s.context), spread.turn, most) {
        let of_spans = [
            ("PARTS", spread.parts),
            ("SHARE", share),
            ("SPAN", span),
            ("TURN", spread.turn),
            ("LINES", spread.lines),
            ("WORKGROUP", spread.width),
        ];
        let of_join = [
            ("HEAD_DIM", head_dim),
            ("SPAN", span),
            ("SLICES", slices),
            ("SINGLE", single),
            ("WORKGROUP", width),
            with_sinks,
            gated,
        ];
        let partial = Extent::Spans { x: heads / share, span, shape: *shape, from, below };
        let join = Extent::Spans { x: heads * slices, span: 0, shape: *shape, from, below };
        let (partial, join) = (
            dispatch("attend_partial", true, &of_spans, partial),
            dispatch("attend_combine", false, &of_join, join),
        );
        all.push(launch(partial, reads(Operand::Partials(node)), Vec::new(), false));
        all.push(launch(join, parts_joined.clone(), attention.nodes(), true));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_position_has_spans_of_one_length_and_no_row_more_than_there_is_room_for() {
        for class in [RowClass::One, RowClass::Few, RowClass::Several] {
            for (context, window) in
                [(1500, 0), (4096, 0), (131_072, 0), (1 << 20, 0), (131_072, 1024), (131_072, 4096)]
            {
                for turn in [16, 64, 128] {
                    let shape = AttentionShape { window, ..shape() };
                    let seen = seen_at_most(&shape, context);
                    let all = spans(class, seen, turn, 512);
                    let mut from = 512;
                    for &(span, begins, below) in &all {
                        assert_eq!(begins, from);
                        assert!(span.is_multiple_of(turn) && below > begins);
                        let sees = seen.min(below);
                        // One more where the first seen position is in the middle of a span.
                        let count = (sees.div_ceil(span) + u32::from(window > 0)) as usize;
                        assert!(count <= most_spans(class, &shape, context), "{class:?} {context} {span}");
                        from = below;
                    }
                    assert_eq!(from, u32::MAX);
                }
            }
        }
    }

    fn shape() -> AttentionShape {
        AttentionShape {
            heads: 32,
            kv_heads: 8,
            head_dim: 128,
            scale: 1.0,
            window: 0,
            chunk: 0,
            softcap: 0.0,
            temperature: None,
        }
    }
}
