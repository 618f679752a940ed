//! Cases of experts: their nodes one by one, and feed-forwards of them.

use wgllm::formats::{FORMATS, Format};
use wgllm::ops::{Activation, Clamp, Gate, Route, Scoring};

use crate::cases;
use crate::groups::input;
use crate::small_graph::{SmallGraph, format};

/// Every kind of route, and experts in every format.
pub fn nodes(s: &mut SmallGraph) {
    nodes_of(s, FORMATS, some_large);
}

/// The same with a format of each kind of unit.
pub fn nodes_of_units(s: &mut SmallGraph) {
    nodes_of(s, &cases::UNITS.map(format), some_large);
}

/// The same in every format, all of them more than a binding of 1 MiB has room for.
pub fn large_nodes(s: &mut SmallGraph) {
    nodes_of(s, FORMATS, |_| 512);
}

/// Experts with a bias and without, of one x and of one for each, in one binding and in several.
fn nodes_of(s: &mut SmallGraph, formats: &[&'static Format], rows_of: fn(usize) -> usize) {
    let plain = Route {
        used: 2,
        scoring: Scoring::Softmax,
        factor: 1.0,
        normalise: Some(0.0),
        scale: 1.0,
        factors: false,
        groups: 1,
        groups_used: 1,
        group_best: 2,
    };
    let sigmoid = Route { scoring: Scoring::Sigmoid, normalise: Some(1e-6), scale: 2.5, ..plain };
    let routes = [
        (4, false, plain),
        (8, false, Route { used: 8, normalise: None, ..plain }),
        (70, true, Route { used: 3, ..sigmoid }),
        (129, false, Route { used: 1, factor: 0.5, scale: 0.5, ..plain }),
        (12, true, Route { used: 3, groups: 4, groups_used: 2, ..sigmoid }),
        (8, true, Route { groups: 8, groups_used: 3, ..plain }),
        (12, false, Route { used: 3, groups: 4, groups_used: 2, group_best: 1, ..plain }),
    ];
    for (count, biased, route) in routes {
        let logits = input(s, count);
        let bias = biased.then(|| s.weight(format("F32"), 1, count));
        let factors = s.table(1, count, |_, random, f| f.fill_with(|| 0.5 + random.unit()));
        for (factors, which) in [(None, ""), (Some(factors), " with factors")] {
            let y = s.graph.route(logits, bias, factors, route);
            s.graph.name(y, &format!("{route:?} of {count}{which}"));
        }
    }
    let logits = input(s, 8);
    let route = s.graph.route(logits, None, None, Route { used: 3, ..plain });
    for (f, &format) in formats.iter().enumerate() {
        let (cols, rows) = (cases::cols_of(format)[0].next_multiple_of(4), rows_of(f));
        let w = s.experts(format, [8, rows, cols]);
        let bias = (f % 3 == 0).then(|| s.weight(FORMATS[0], 1, 8 * rows));
        for (x, which) in [(cols, "one x"), (3 * cols, "an x for each")] {
            let x = input(s, x);
            let weighted = f % 4 == 1;
            let y = s.graph.expert_linear(x, w, route, bias, weighted);
            s.graph.name(y, &format!("expert_linear {} [8, {rows}, {cols}] of {which}", format.name));
            let y = s.graph.combine(y, route, !weighted);
            s.graph.name(y, &format!("combine 3 of {rows}"));
        }
    }
    for (f, &format) in formats.iter().enumerate() {
        let (cols, rows) = (cases::cols_of(format)[0].next_multiple_of(4), rows_of(f));
        let w = s.experts(format, [5, rows, cols]);
        for (rest, keep) in [(0, false), (12, true), (4, false)] {
            let x = input(s, 5 * (cols + rest));
            let y = s.graph.group_linear(x, w, keep);
            s.graph.name(y, &format!("group_linear {} [5, {rows}, {cols}], rest {rest} {keep}", format.name));
        }
    }
    let w = s.experts(format("F32"), [6, 512, 128]);
    let x = input(s, 6 * 132);
    let y = s.graph.group_linear(x, w, true);
    s.graph.name(y, "group_linear F32 [6, 512, 128]");
    // More than one binding of 1 MiB, cut between experts.
    let w = s.experts(format("F32"), [8, 512, 96]);
    let x = input(s, 96);
    let y = s.graph.expert_linear(x, w, route, None, false);
    s.graph.name(y, "expert_linear F32 [8, 512, 96]");
}

/// Rows of an expert in the format of this number: some more than a binding of 1 MiB has room for.
fn some_large(f: usize) -> usize {
    match f % 8 {
        1 => 512,
        f => [33, 65][f % 2],
    }
}

/// Feed-forwards of experts: with a norm in front and without, biases, gates under a clamp, both halves in one, weights on either side, and
/// rows that go to some experts alike, or all to one and none to others.
pub fn layers(s: &mut SmallGraph) {
    const EXPERTS: usize = 8;
    let route = Route {
        used: 4,
        scoring: Scoring::Sigmoid,
        factor: 1.0,
        normalise: Some(0.0),
        scale: 1.0,
        factors: false,
        groups: 1,
        groups_used: 1,
        group_best: 2,
    };
    let logits = input(s, EXPERTS);
    let uneven = s.table(1, EXPERTS, |_, _, bias| {
        bias.fill(0.0);
        (bias[2], bias[5], bias[7]) = (-9.0, 9.0, -9.0);
    });
    let even = s.graph.route(logits, None, None, route);
    let uneven = s.graph.route(logits, Some(uneven), None, route);
    // A format for each way of storing weights: the others differ by their decoders, and each has two matvecs and two matmuls to make here.
    let kinds = ["F32", "F16", "Q4_0", "Q8_0", "Q4_K", "Q6_K", "MXFP4", "IQ2_XXS"];
    for (f, format) in kinds.into_iter().map(format).enumerate() {
        let ffn = cases::cols_of(format)[0];
        let width = 2 * ffn;
        let x = input(s, width);
        let norm = s.weight(FORMATS[0], 1, width);
        let h = if f % 5 == 4 { x } else { s.graph.rms_norm(x, norm, 1e-5) };
        let route = if f % 2 == 0 { even } else { uneven };
        let (early, biased) = (f % 7 == 3, f % 3 == 0);
        let product = |s: &mut SmallGraph, x, rows: usize, cols, weighted| {
            let w = s.experts(format, [EXPERTS, rows, cols]);
            let bias = biased.then(|| s.weight(FORMATS[0], 1, EXPERTS * rows));
            s.graph.expert_linear(x, w, route, bias, weighted)
        };
        let clamp = (f % 4 == 1).then_some(Clamp { limit: 0.7, shift: 1.0 });
        let middle = Gate { clamp, ..Gate::of(Activation::Silu) };
        let y = if f % 6 == 2 {
            let both = product(s, h, 2 * ffn, width, early);
            s.graph.gate_halves(middle, both, 4)
        } else {
            let gate = product(s, h, ffn, width, early);
            let up = product(s, h, ffn, width, early);
            s.graph.gate(middle, gate, up)
        };
        let y = product(s, y, width, ffn, false);
        let y = s.graph.combine(y, route, !early);
        let y = if f % 4 == 3 { y } else { s.graph.add(x, y) };
        s.graph.name(y, &format!("experts {} [{EXPERTS}, {ffn}, {width}]", format.name));
    }
    // More than one binding of 2 MiB.
    let x = input(s, 192);
    let f32 = format("F32");
    let [gate, up] = [0; 2].map(|_| s.experts(f32, [EXPERTS, 512, 192]));
    let [gate, up] = [gate, up].map(|w| s.graph.expert_linear(x, w, even, None, false));
    let y = s.graph.gate(Activation::Silu, gate, up);
    let down = s.experts(f32, [EXPERTS, 192, 512]);
    let y = s.graph.expert_linear(y, down, even, None, false);
    let y = s.graph.combine(y, even, true);
    s.graph.add(x, y);
}
