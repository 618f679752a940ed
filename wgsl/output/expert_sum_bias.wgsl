// The weighted sum over a row's experts, which have biases, and what it is added to: y[n] = (residual[n] +) Σ over k of weight[k] · (sum[k, n] + bias[k, n]); and the
// copy of y for what normalises it next.

import package::copy::begin_copy;
import package::copy::emit_copy;
import package::rows::experts::rows_of;

override RESIDUAL: u32 = 0u;      // 1: it is added to something
override OUT_STRIDE: u32 = 64u;   // from a row to the next, of y and of the residual

@group(0) @binding(2) var<storage, read_write> y: array<f32>;         // [rows, OUT_STRIDE]
@group(0) @binding(3) var<storage, read> bias: array<f32>;            // [EXPERTS, N]
@group(0) @binding(4) var<storage, read> residual: array<f32>;        // [rows, OUT_STRIDE], or anything

var<private> ahead: f32; // the residual, and the biases

fn begin(r: u32, first_pair: u32, nth: u32) {
    let n = 2u * first_pair + nth;
    ahead = 0.0;
    if (nth < 2u * PAIRS && n < N) {
        if (RESIDUAL != 0u) {
            ahead = residual[r * OUT_STRIDE + n];
        }
        for (var k = 0u; k < STRETCHES; k++) {
            ahead += weight_of(k) * bias[expert_row(k) + n];
        }
        begin_copy(n);
    }
}

fn finish(r: u32, first_pair: u32, nth: u32, local: u32) {
    let n = 2u * first_pair + nth;
    let valid = nth < 2u * PAIRS && n < N;
    var value = 0.0;
    if (valid) {
        value = sums_of(nth / 2u)[nth % 2u] + ahead;
        y[r * OUT_STRIDE + n] = value;
    }
    emit_copy(r, n, value, valid, local);
}
