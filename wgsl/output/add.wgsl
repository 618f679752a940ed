// The sums and a residual: y[n] = residual[n] + FACTOR · (sum[n] (+ bias[n])); and the copy of y for what normalises it next.

import package::copy::begin_copy;
import package::copy::emit_copy;
import package::rows::own::rows_of;

override FACTOR: f32 = 1.0;
override BIAS: u32 = 0u;
override OUT_STRIDE: u32 = 64u;   // from a row to the next, of y and of the residual

@group(0) @binding(2) var<storage, read_write> y: array<f32>;         // [rows, OUT_STRIDE]
@group(0) @binding(3) var<storage, read> bias: array<f32>;            // or anything
@group(0) @binding(4) var<storage, read> residual: array<f32>;        // [rows, OUT_STRIDE]

var<private> ahead: f32; // the residual, and the bias

fn begin(r: u32, first_pair: u32, nth: u32) {
    let n = 2u * first_pair + nth;
    if (nth < 2u * PAIRS && n < N) {
        ahead = residual[r * OUT_STRIDE + n];
        if (BIAS != 0u) {
            ahead += FACTOR * bias[n];
        }
        begin_copy(n);
    }
}

fn finish(r: u32, first_pair: u32, nth: u32, local: u32) {
    let n = 2u * first_pair + nth;
    let valid = nth < 2u * PAIRS && n < N;
    var value = 0.0;
    if (valid) {
        value = sums_of(nth / 2u)[nth % 2u] * (FACTOR * scale()) + ahead;
        y[r * OUT_STRIDE + n] = value;
    }
    emit_copy(r, n, value, valid, local);
}
