// Pairs of gate and up of one expert for each row of y: for a row of x there are as many as its route names.

import package::lib::expert_rows::expert;

override ROUTE_STRIDE: u32 = 8u;
override WEIGHTED: u32 = 0u;      // 1: sums are multiplied by the route's weights

@group(0) @binding(4) var<storage, read> route: array<f32>;        // [rows of x, ROUTE_STRIDE]

var<private> expert_weight: f32;

fn begin_row(r: u32, group: u32, at: Invocation) {
    let place = r / SHARES * ROUTE_STRIDE + r % SHARES;
    expert = min(u32(route[place]), EXPERTS - 1u);
    expert_weight = 1.0;
    if (WEIGHTED == 1u) {
        expert_weight = route[place + SHARES];
    }
}

fn row_factor() -> f32 {
    return expert_weight;
}
