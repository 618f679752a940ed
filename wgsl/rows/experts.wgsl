// A row of w for each expert that a row's route names, as stretches of one: each has a row of x of its own, and counts by its weight.

import package::lib::row::row_units;
import package::lib::stretch::Stretch;

override STRETCHES: u32 = 2u;     // experts that a row goes to
override EXPERTS: u32 = 8u;
override EXPERT_ROWS: u32 = 64u;  // rows from an expert to the next
override ROUTE_STRIDE: u32 = 8u;
override WEIGHTED: u32 = 1u;      // 0: as if all weights were 1

const SHARES: u32 = 1u;

@group(0) @binding(5) var<storage, read> route: array<f32>;        // [rows, ROUTE_STRIDE]

var<private> route_at: u32;

fn begin_row(r: u32, group: u32, at: Invocation) {
    route_at = r * ROUTE_STRIDE;
}

fn rows_of(p: u32) -> vec2<u32> {
    return FIRST_ROW + min(vec2<u32>(2u * p, 2u * p + 1u), vec2<u32>(N - 1u));
}

// The rows in front of the k-th expert.
fn expert_row(k: u32) -> u32 {
    return min(u32(route[route_at + k]), EXPERTS - 1u) * EXPERT_ROWS;
}

// What the k-th expert counts.
fn weight_of(k: u32) -> f32 {
    if (WEIGHTED == 1u) {
        return route[route_at + STRETCHES + k];
    }
    return 1.0;
}

fn stretch_of(unit: u32) -> Stretch {
    let k = unit / row_units();
    return Stretch(expert_row(k), k, unit % row_units(), weight_of(k));
}

fn row_factor() -> f32 {
    return 1.0;
}
