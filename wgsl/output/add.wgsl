// The sums and a residual: y[n] = residual[n] + FACTOR · (sum[n] (+ bias[n])), or y[n] = residual[n] + sigmoid(gate of the row) · sum[n]; and the copy of y for what
// normalises it next.

import package::copy::begin_copy;
import package::copy::emit_copy;
import package::lib::own_sums::begin;
import package::rows::own::rows_of;

override FACTOR: f32 = 1.0;
override BIAS: u32 = 0u;
override GATE_STRIDE: u32 = 0u;   // not 0: what would be biases are gates, so many numbers from that of a row to the next one's

const FIRST_OUT: u32 = 0u;

@group(0) @binding(3) var<storage, read> bias: array<f32>;            // or anything
@group(0) @binding(4) var<storage, read> residual: array<f32>;        // [rows, OUT_STRIDE]

var<private> factor: f32; // of the sum

fn ahead_of(r: u32, n: u32) -> f32 {
    var added = residual[r * OUT_STRIDE + n];
    factor = FACTOR;
    if (GATE_STRIDE != 0u) {
        factor = 1.0 / (1.0 + exp(-bias[r * GATE_STRIDE]));
    } else if (BIAS != 0u) {
        added += FACTOR * bias[n];
    }
    return added;
}

fn value_of(sum: f32) -> f32 {
    return sum * (factor * scale()) + ahead;
}
