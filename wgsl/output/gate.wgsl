// Pairs of gate and up: y[n] = act(gate[n]) · up[n]; and the copy of y for the matvec that reads it next.

import package::lib::activation::activate_one;
import package::copy::begin_copy;
import package::copy::emit_copy;
import package::rows::own::rows_of;

override ACT: u32 = 0u;
override BIAS: u32 = 0u;          // 1: of gate, behind it of up
override OUT_STRIDE: u32 = 64u;

@group(0) @binding(2) var<storage, read_write> y: array<f32>;         // [rows, OUT_STRIDE]
@group(0) @binding(3) var<storage, read> bias: array<f32>;            // [N], or anything

fn begin(r: u32, first_pair: u32, nth: u32) {
    if (nth < PAIRS && first_pair + nth < N / 2u) {
        begin_copy(first_pair + nth);
    }
}

fn finish(r: u32, first_pair: u32, nth: u32, local: u32) {
    let n = first_pair + nth;
    let valid = nth < PAIRS && n < N / 2u;
    var value = 0.0;
    if (valid) {
        var sum = sums_of(nth) * scale();
        if (BIAS != 0u) {
            sum += vec2<f32>(bias[n], bias[N / 2u + n]);
        }
        value = activate_one(ACT, sum.x) * sum.y;
        y[r * OUT_STRIDE + n] = value;
    }
    emit_copy(r, n, value, valid, local);
}
