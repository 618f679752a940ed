//! Layers with states: convolutions, recurrences and what stands behind them.

use wgllm::ops::{Activation, DeltaRule, GatedNorm, Part, ShortConv, Ssd};

use crate::groups::input;
use crate::small_graph::{SmallGraph, format};

/// Convolutions and recurrences: heads of one slice and of several, of more and fewer columns than a workgroup takes at once.
pub fn states(s: &mut SmallGraph) {
    let f32 = format("F32");
    for (i, (channels, taps)) in [(3, 2), (64, 3), (65, 4), (172, 9)].into_iter().enumerate() {
        for gated in [false, true] {
            let x = input(s, channels * if gated { 3 } else { 1 });
            let w = s.table(1, channels * taps, |_, random, row| row.fill_with(|| random.unit() - 0.5));
            let bias = (i % 2 == 0).then(|| s.weight(f32, 1, channels));
            let act = [None, Some(Activation::Silu)][i / 2];
            let y = s.graph.short_conv(x, w, bias, ShortConv { taps, act, gated });
            s.graph.name(y, &format!("convolution of {channels}, {taps} taps, gated: {gated}"));
        }
    }
    let decay =
        |s: &mut SmallGraph, n| s.table(1, n, |_, random, row| row.fill_with(|| -0.02 - random.unit()));
    for (k_heads, v_heads, width) in [(1, 1, 4), (2, 4, 16), (2, 2, 20), (1, 3, 64), (2, 2, 128), (1, 1, 256)]
    {
        let x = input(s, (2 * k_heads + v_heads) * width);
        let (a, b) = (input(s, v_heads), input(s, v_heads));
        let (decay, bias) = (decay(s, v_heads), s.weight(f32, 1, v_heads));
        let rule = DeltaRule { k_heads, v_heads, width, eps: 1e-6 };
        let y = s.graph.delta_rule(x, [a, b], [decay, bias], rule.clone());
        s.graph.name(y, &format!("{rule:?}"));
    }
    for (heads, width, groups, state) in [(1, 4, 1, 4), (4, 16, 2, 16), (6, 20, 3, 36), (2, 64, 1, 128)] {
        let x = input(s, heads * width + 2 * groups * state);
        let dt = input(s, heads);
        let through = s.table(1, heads, |_, random, row| row.fill_with(|| 1.0 + random.unit()));
        let weights = [decay(s, heads), s.weight(f32, 1, heads), through];
        let ssd = Ssd { heads, width, groups, state };
        let y = s.graph.ssd(x, dt, weights, ssd.clone());
        s.graph.name(y, &format!("{ssd:?}"));
    }
}

/// Norms of groups beside their gates, and parts of groups.
pub fn gated_norms(s: &mut SmallGraph) {
    for (groups, len) in [(1, 96), (3, 16), (2, 33), (4, 257)] {
        let (x, z) = (input(s, groups * len), input(s, groups * len));
        for (gate_first, weights) in [(false, 1), (true, groups), (true, 1), (false, groups)] {
            let w = s.weight(format("F32"), 1, weights * len);
            let y = s.graph.gated_norm(x, z, w, GatedNorm { eps: 1e-6, groups, gate_first });
            s.graph.name(y, &format!("gated norm of {groups} groups of {len}, gate first: {gate_first}"));
        }
        let y = s.graph.part(x, Part { groups, first: len / 3, len: len / 2 });
        s.graph.name(y, &format!("half of {groups} groups of {len}"));
    }
}
