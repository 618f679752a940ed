// The sums as they are, and a bias: y[r, n] = sum[n] (+ bias[n]); and the copy of y for what normalises it next.

import package::copy::begin_copy;
import package::copy::emit_copy;
import package::rows::own::rows_of;

override FIRST_OUT: u32 = 0u;     // where the result goes in a row of y
override OUT_STRIDE: u32 = 64u;
override BIAS: u32 = 0u;

@group(0) @binding(2) var<storage, read_write> y: array<f32>;         // [rows, OUT_STRIDE]
@group(0) @binding(3) var<storage, read> bias: array<f32>;            // or anything

var<private> ahead: f32; // the bias

fn begin(r: u32, first_pair: u32, nth: u32) {
    let n = 2u * first_pair + nth;
    ahead = 0.0;
    if (nth < 2u * PAIRS && n < N) {
        if (BIAS != 0u) {
            ahead = bias[FIRST_OUT + n];
        }
        begin_copy(n);
    }
}

fn finish(r: u32, first_pair: u32, nth: u32, local: u32) {
    let n = 2u * first_pair + nth;
    let valid = nth < 2u * PAIRS && n < N;
    var value = 0.0;
    if (valid) {
        value = sums_of(nth / 2u)[nth % 2u] * scale() + ahead;
        y[r * OUT_STRIDE + FIRST_OUT + n] = value;
    }
    emit_copy(r, n, value, valid, local);
}
