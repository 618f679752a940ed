// Pairs of gate and up of one expert for each row of y: for a row of x there are as many as its route names. Experts follow each other,
// up PAIR_STEP rows behind gate.

import package::lib::stretch::Stretch;

override SHARES: u32 = 2u;        // experts that a row of x goes to
override EXPERTS: u32 = 8u;
override EXPERT_ROWS: u32 = 64u;  // rows from an expert to the next
override ROUTE_STRIDE: u32 = 8u;
override WEIGHTED: u32 = 0u;      // 1: sums are multiplied by the route's weights

const STRETCHES: u32 = 1u;

@group(0) @binding(4) var<storage, read> route: array<f32>;        // [rows of x, ROUTE_STRIDE]

var<private> expert: u32;
var<private> expert_weight: f32;

fn begin_row(r: u32, group: u32, at: Invocation) {
    let place = r / SHARES * ROUTE_STRIDE + r % SHARES;
    expert = min(u32(route[place]), EXPERTS - 1u);
    expert_weight = 1.0;
    if (WEIGHTED == 1u) {
        expert_weight = route[place + SHARES];
    }
}

fn rows_of(p: u32) -> vec2<u32> {
    let row = expert * EXPERT_ROWS + min(p, N / 2u - 1u);
    return FIRST_ROW + vec2<u32>(row, row + PAIR_STEP);
}

fn stretch_of(unit: u32) -> Stretch {
    return Stretch(0u, 0u, unit, 1.0);
}

fn row_factor() -> f32 {
    return expert_weight;
}
