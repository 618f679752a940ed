//! Queries, keys and values and what follows them: by epilogues of the matvecs, by a kernel of its own behind them, or by the dispatch of the attention.

use crate::gpu::link::stems;
use crate::gpu::memory::kv_layout;
use crate::gpu::memory::weights::weight;
use crate::gpu::plan::copies::Copies;
use crate::gpu::plan::dispatch::{Dispatch, Extent};
use crate::gpu::plan::groups::{Attention, Matmul, Then, inputs, op, runs};
use crate::gpu::plan::heads::{Heads, Own};
use crate::gpu::plan::lower::{PAIRS, biases, is_whole, product, tiled, tiles};
use crate::gpu::plan::matvec::Tile;
use crate::gpu::plan::{Arithmetic, Launch, Operand, Planner, RowClass};
use crate::gpu::plan::{attention, matmul};
use crate::graph::{Graph, Node, Rows};
use crate::ops::{Op, Pairing};

/// Invocations of a workgroup that finishes a head.
const WORKGROUP: u32 = 64;

/// Storage buffers of attention that does it: all other kernels have ten at most, and some adapters no more.
const BUFFERS: u32 = 12;

/// What follows the projections of an attention, if the dispatch of the attention does that, too: of one row, and of a short sequence; of longer ones it
/// is a dispatch of its own.
pub fn joined<'a>(s: &Planner<'_>, m: &'a Matmul) -> Option<&'a Heads> {
    let Then::Heads(heads) = &m.then else { return None };
    let joins = s.class == RowClass::One
        && s.caps.storage_buffers >= BUFFERS
        && !are_stored(s, m, heads)
        && is_whole(s, m)
        && attention::takes_projections(s, heads);
    joins.then_some(heads)
}

/// Whether queries, keys and values are written where they belong by whoever sums them up.
fn are_stored(s: &Planner<'_>, m: &Matmul, heads: &Heads) -> bool {
    let (_, has_bias) = biases(s.graph, m);
    heads.are_neighbours(s.graph) && has_bias == 0.0 && are_in_pairs(s) && !tiled(s, m)
}

/// Whether keys and values can be written two numbers at a time. A sum has one neighbour: formats that round more numbers together are written by
/// whoever sees whole heads.
fn are_in_pairs(s: &Planner<'_>) -> bool {
    [s.kv.keys, s.kv.values].iter().all(|format| stems("cache_pair").any(|s| s == format.name))
}

/// Queries, keys and values: written where they belong by whoever sums them up, or by a kernel of their own behind the matvecs.
pub fn projections(s: &Planner<'_>, m: &Matmul, heads: &Heads) -> Vec<Launch> {
    if are_stored(s, m, heads) {
        return runs(s.graph, m).iter().flat_map(|run| stored(s, m, heads, run)).collect();
    }
    let mut launches = scratched(s, m);
    launches.extend(values_run(s, m, heads).into_iter().flat_map(|run| stored(s, m, heads, &run)));
    if joined(s, m).is_none() {
        let arithmetic = costliest(&launches);
        launches.push(Launch { arithmetic, ..behind(s, m, heads) });
    }
    launches
}

/// The run of values whose weights have another format than those of queries and keys, where they are written where they belong by whoever sums them up:
/// that dispatch shares nothing with theirs.
fn values_run(s: &Planner<'_>, m: &Matmul, heads: &Heads) -> Option<Vec<usize>> {
    let run = runs(s.graph, m).into_iter().find(|run| run == &[2])?;
    let biased = inputs(s.graph, m.linears[2]).len() > 2;
    let fits = !tiled(s, m) && heads.value_norm().is_none() && !biased && are_in_pairs(s);
    fits.then_some(run)
}

/// Words of a row of all projections of a group.
fn scratch_stride(g: &Graph, m: &Matmul) -> f64 {
    let rows = m.linears.iter().map(|&l| weight(g, inputs(g, l)[1]).rows);
    rows.sum::<usize>().next_multiple_of(8) as f64
}

/// The matvecs or matmuls of projections, whose sums are kept one behind the other.
fn scratched(s: &Planner<'_>, m: &Matmul) -> Vec<Launch> {
    let g = s.graph;
    let (bias, has_bias) = biases(g, m);
    let rows: Vec<usize> = m.linears.iter().map(|&l| weight(g, inputs(g, l)[1]).rows).collect();
    let (scratch, stride) = (Operand::Heads(m.linears[0]), scratch_stride(g, m));
    let mut launches = Vec::new();
    let elsewhere = if let Then::Heads(heads) = &m.then { values_run(s, m, heads) } else { None };
    for run in runs(g, m).into_iter().filter(|run| Some(run) != elsewhere.as_ref()) {
        let first = rows[..run[0]].iter().sum::<usize>() as f64;
        if tiled(s, m) {
            launches.extend(matmul::projections(s, m, &run, scratch, [first, stride]));
            continue;
        }
        for tile in tiles(s, m, &run) {
            let mut launch = product(s, m, &run, PAIRS, tile);
            let places = [("FIRST_OUT", first), ("OUT_STRIDE", stride), ("BIAS", has_bias)];
            launch.dispatch.constants.extend(places);
            launch.operands.extend([(2, scratch), (3, bias)]);
            launch.slots.output = Some("plain");
            launch.slots.copy = Some("none");
            launches.push(launch);
        }
    }
    launches
}

/// The matvecs that write queries, keys and values where they belong: one for each tile, of which a step runs one.
fn stored(s: &Planner<'_>, m: &Matmul, heads: &Heads, run: &[usize]) -> Vec<Launch> {
    tiles(s, m, run).into_iter().map(|tile| stored_by(s, m, heads, run, tile)).collect()
}

fn stored_by(s: &Planner<'_>, m: &Matmul, heads: &Heads, run: &[usize], tile: Tile) -> Launch {
    let g = s.graph;
    let mut launch = product(s, m, run, PAIRS, tile);
    let rows = |i: usize| match run.contains(&i) {
        true => weight(g, inputs(g, m.linears[i])[1]).rows as f64,
        false => 0.0,
    };
    let caches = heads.caches(g);
    let (mut cos_sin, mut rotary) = (Operand::Nothing, [("HEAD_DIM", 2.0), ("ROTARY", 0.0)]);
    if let Some(rope) = heads.rope
        && let Some(Op::Rope(op)) = op(g, rope)
    {
        rotary = [("HEAD_DIM", op.0.head_dim as f64), ("ROTARY", op.0.rotary as f64)];
        cos_sin = Operand::Table(rope);
    }
    launch.dispatch.constants.extend(rotary);
    let stride = g.shape(heads.queries(g)).stride() as f64;
    launch.dispatch.constants.extend([("Q_ROWS", rows(0)), ("K_ROWS", rows(1)), ("Q_STRIDE", stride)]);
    launch.dispatch.constants.push(("KV_FOURS", g.shape(caches[0]).cols as f64 / 4.0));
    let unwritten = Operand::Unwritten(m.linears[run[0]]);
    let written = |i: usize, operand: Operand| if run.contains(&i) { operand } else { unwritten };
    launch.operands.extend([
        (2, written(0, Operand::Value(heads.queries(g)))),
        (3, cos_sin),
        (4, written(1, Operand::Cache(caches[0]))),
        (5, written(2, Operand::Cache(caches[1]))),
        (8, Operand::Pages),
    ]);
    launch.slots.output = Some("store");
    // Of each projection what belongs to it.
    launch.nodes.extend(m.nodes());
    let linear = |i: usize| m.linears.get(i).copied();
    let own = |of: fn(Own) -> Option<Node>| heads.own.and_then(of);
    let gates = heads.gates.map(|gates| [gates.queries, gates.gates].map(Some)).unwrap_or_default();
    let of = [
        vec![linear(0), heads.rope, heads.norm, gates[0], gates[1]],
        vec![linear(1), own(|own| own.rope), own(|own| own.norm), own(|own| Some(own.stores[0]))],
        vec![linear(2), own(|own| Some(own.stores[1]))],
    ];
    for (i, nodes) in of.iter().enumerate() {
        launch.nodes.retain(|n| run.contains(&i) || !nodes.contains(&Some(*n)));
    }
    launch
}

/// What follows the projections: norms of each head, rotary positions, and the writing of keys and values.
fn behind(s: &Planner<'_>, m: &Matmul, heads: &Heads) -> Launch {
    let g = s.graph;
    // Values are made of what keys are made of.
    let shared = m.linears.len() == 2;
    let stored_values = values_run(s, m, heads).is_some();
    let Some(Op::Attend(attend)) = op(g, heads.attend) else { panic!("heads are attended to") };
    let (shape, queries) = (&attend.0, heads.queries(g));
    let caches = heads.caches(g);
    let mut constants = vec![
        ("HEADS", shape.heads as f64),
        ("KV_HEADS", shape.kv_heads as f64),
        ("HEAD_DIM", shape.head_dim as f64),
        ("STRIDE", scratch_stride(g, m)),
        ("Q_STRIDE", g.shape(queries).stride() as f64),
        ("Q_STEP", (shape.head_dim * (1 + heads.gates.is_some() as usize)) as f64),
        ("GATED", heads.gates.is_some() as u32 as f64),
        ("WORKGROUP", WORKGROUP as f64),
    ];
    constants.extend(kv_layout::constants(g, s.kv, caches[0]));
    let unwritten = Operand::Unwritten(m.linears[0]);
    let values = if stored_values { unwritten } else { Operand::Cache(caches[1]) };
    let mut nodes = m.nodes();
    let elsewhere = heads.own.filter(|_| stored_values).map(|own| [m.linears[2], own.stores[1]]);
    nodes.retain(|n| !elsewhere.is_some_and(|values| values.contains(n)));
    let gates = heads.gates.map_or(unwritten, |gates| Operand::Value(gates.gates));
    let (mut cos_sin, mut rotary, mut pair_step) = (Operand::Nothing, 0, 1);
    if let Some(rope) = heads.rope
        && let Some(Op::Rope(op)) = op(g, rope)
    {
        (cos_sin, rotary) = (Operand::Table(rope), op.0.rotary);
        if op.0.pairing == Pairing::Halves {
            pair_step = rotary / 2;
        }
    }
    let (mut norms, mut norm, mut eps, mut weighted) = ([Operand::Nothing; 2], 0, 0.0, false);
    if let Some(q) = heads.norm
        && let Some(Op::RmsNorm(op)) = op(g, q)
    {
        weighted = inputs(g, q).len() == 2;
        let k = heads.own.and_then(|own| own.norm);
        let weight = |n: Node| inputs(g, n).get(1).map_or(Operand::Nothing, |&w| Operand::Vector(w));
        norms = [Some(q), k].map(|n| n.map_or(Operand::Nothing, weight));
        norm = 1 + heads.norms_last as u32;
        eps = op.eps as f64;
    }
    constants.extend([
        ("ROTARY", rotary as f64),
        ("PAIR_STEP", pair_step as f64),
        ("NORM", norm as f64),
        ("EPS", eps),
        ("WHOLE", heads.whole as u32 as f64),
        ("WEIGHTED", weighted as u32 as f64),
        ("VALUE_NORM", heads.value_norm().is_some() as u32 as f64),
        ("SHARED", shared as u32 as f64),
        ("VALUES", !stored_values as u32 as f64),
        ("OWN", heads.own.is_some() as u32 as f64),
    ]);
    let others = if heads.own.is_some() { (2 - stored_values as usize) * shape.kv_heads } else { 0 };
    let each = (shape.heads + others) as u32;
    let extent = Extent::PerRow { rows: Rows::Step, each };
    let operands = vec![
        (0, Operand::Step),
        (1, Operand::Heads(m.linears[0])),
        (2, Operand::Value(queries)),
        (3, cos_sin),
        (4, Operand::Cache(caches[0])),
        (5, values),
        (6, norms[0]),
        (7, norms[1]),
        (8, Operand::Pages),
        (9, gates),
    ];
    let dispatch = Dispatch { kernel: "heads", constants, extent };
    Launch { nodes, dispatch, operands, weight: None, slots: s.slots(None), arithmetic: Arithmetic::F32 }
}

/// Attention of one row or few, with what is in front of it where it takes that over.
pub fn attention_launches(s: &Planner<'_>, copies: &Copies, attention: &Attention) -> Vec<Launch> {
    let mut launches = attention::launches(s, copies, attention);
    let Some(m) = attention.projections.as_ref() else { return launches };
    let Some(heads) = joined(s, m) else { return launches };
    // Of short sequences the first launch does it all, of others a launch in front of them what there is to do in front.
    let arithmetic = costliest(&scratched(s, m));
    let mut behind = behind(s, m, heads);
    behind.arithmetic = arithmetic;
    if let Extent::PerRow { each, .. } = behind.dispatch.extent {
        behind.dispatch.extent = attention::long(s, heads.attend, each);
    }
    let numbers = [
        "ROTARY",
        "PAIR_STEP",
        "NORM",
        "WHOLE",
        "WEIGHTED",
        "VALUE_NORM",
        "SHARED",
        "VALUES",
        "OWN",
        "EPS",
        "Q_STEP",
    ];
    let short = &mut launches[0];
    let constants = behind.dispatch.constants.iter().filter(|(name, _)| numbers.contains(name));
    short.dispatch.constants.extend(constants);
    // In the place of the queries and of the sinks, and behind the pages; the sinks behind all that.
    let sinks = short.operands.iter().find_map(|&(binding, operand)| (binding == 3).then_some((11, operand)));
    let moved = |from: u32, to: u32| {
        let found = behind.operands.iter().find(|(binding, _)| *binding == from);
        found.map(|&(_, operand)| (to, operand))
    };
    short.operands.retain(|(binding, _)| ![1, 3, 9].contains(binding));
    short.operands.extend([moved(1, 1), moved(3, 3), moved(6, 9), moved(7, 10), sinks].into_iter().flatten());
    short.slots.queries = Some("projected");
    short.arithmetic = arithmetic;
    short.nodes = behind.nodes.iter().copied().chain(attention.nodes()).collect();
    short.nodes.sort_unstable();
    launches.insert(0, behind);
    launches
}

/// Of the launches of one group the arithmetic that costs most, as `check` sees them together.
fn costliest(launches: &[Launch]) -> Arithmetic {
    launches.iter().map(|l| l.arithmetic).max_by_key(|a| *a as u32).unwrap_or_default()
}
