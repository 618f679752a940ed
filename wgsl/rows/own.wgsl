// The rows of w as they lie, each of one stretch, for every row of x.

import package::lib::stretch::Stretch;

const SHARES: u32 = 1u;       // rows of y to a row of x
const STRETCHES: u32 = 1u;    // of a row of w, each with a row of x

// What there is to do once for a row. All invocations of the workgroup, one of GROUPS, call it together.
fn begin_row(r: u32, group: u32, at: Invocation) {
}

// The rows of pair p, in what is bound.
fn rows_of(p: u32) -> vec2<u32> {
    let row = p / PAIR_STEP * (2u * PAIR_STEP) + p % PAIR_STEP;
    return FIRST_ROW + min(vec2<u32>(row, row + PAIR_STEP), vec2<u32>(N - 1u));
}

fn stretch_of(unit: u32) -> Stretch {
    return Stretch(0u, 0u, unit, 1.0);
}

// What the sums of a row of y are multiplied by.
fn row_factor() -> f32 {
    return 1.0;
}
