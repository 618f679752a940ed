// Pairs of gate and up of the experts that a row goes to, a row of y for each: y[n] = act(gate[n]) · up[n], maybe under a clamp; and the copy of y
// for the matvec that reads it next. The output says which rows of w these are.

import package::copy::begin_copy;
import package::copy::emit_copy;
import package::lib::activation::activate_one;
import package::lib::clamped::gate_of;
import package::lib::clamped::up_of;

override ACT: u32 = 0u;
override BIAS: u32 = 0u;          // 1: one for each row of w
override OUT_STRIDE: u32 = 64u;

@group(0) @binding(2) var<storage, read_write> y: array<f32>;         // [rows of x · SHARES, OUT_STRIDE]
@group(0) @binding(3) var<storage, read> bias: array<f32>;            // or anything

var<private> ahead: vec2<f32>; // the biases

fn begin(r: u32, first_pair: u32, nth: u32) {
    let n = first_pair + nth;
    ahead = vec2<f32>();
    if (nth < PAIRS && n < N / 2u) {
        if (BIAS != 0u) {
            let at = rows_of(n) - FIRST_ROW;
            ahead = vec2<f32>(bias[at.x], bias[at.y]);
        }
        begin_copy(n);
    }
}

fn finish(r: u32, first_pair: u32, nth: u32, local: u32) {
    let n = first_pair + nth;
    let valid = nth < PAIRS && n < N / 2u;
    var value = 0.0;
    if (valid) {
        let sum = sums_of(nth) * scale() + ahead;
        value = activate_one(ACT, gate_of(sum.x)) * up_of(sum.y);
        y[r * OUT_STRIDE + n] = value;
    }
    emit_copy(r, n, value, valid, local);
}
