// The sums as they are, and a bias: y[r, n] = sum[n] (+ bias[n]); and the copy of y for what normalises it next.

import package::copy::begin_copy;
import package::copy::emit_copy;
import package::lib::own_sums::begin;
import package::rows::own::rows_of;

override FIRST_OUT: u32 = 0u;     // where the result goes in a row of y
override BIAS: u32 = 0u;

@group(0) @binding(3) var<storage, read> bias: array<f32>;            // or anything

fn ahead_of(r: u32, n: u32) -> f32 {
    if (BIAS != 0u) {
        return bias[FIRST_OUT + n];
    }
    return 0.0;
}

fn value_of(sum: f32) -> f32 {
    return sum * scale() + ahead;
}
