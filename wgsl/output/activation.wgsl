// An activation function of the sums: y[n] = act(sum[n] (+ bias[n])), or y[n] = act(sum[n]) · up[n]; and the copy of y for the matvec that reads it next.

import package::lib::activation::activate_one;
import package::copy::begin_copy;
import package::copy::emit_copy;
import package::lib::own_sums::begin;
import package::rows::own::rows_of;

override ACT: u32 = 0u;
override BIAS: u32 = 0u;
override GATE_STRIDE: u32 = 0u;   // not 0: what would be biases is multiplied, so many numbers from a row to the next
override FIRST_GATE: u32 = 0u;    // the first of them in a row

const FIRST_OUT: u32 = 0u;

@group(0) @binding(3) var<storage, read> bias: array<f32>;            // or anything

fn ahead_of(r: u32, n: u32) -> f32 {
    if (GATE_STRIDE != 0u) {
        return bias[r * GATE_STRIDE + FIRST_GATE + n];
    }
    if (BIAS != 0u) {
        return bias[n];
    }
    return 0.0;
}

fn value_of(sum: f32) -> f32 {
    if (GATE_STRIDE != 0u) {
        return activate_one(ACT, sum * scale()) * ahead;
    }
    return activate_one(ACT, sum * scale() + ahead);
}
