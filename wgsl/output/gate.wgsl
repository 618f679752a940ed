// Pairs of gate and up: y[n] = act(gate[n]) · up[n]; and the copy of y for the matvec that reads it next. One row.

import package::lib::activation::activate_one;
import package::copy::begin_copy;
import package::copy::emit_copy;

override ACT: u32 = 0u;

@group(0) @binding(2) var<storage, read_write> y: array<f32>;         // [N / 2]

fn begin(r: u32, first_pair: u32, local: u32) {
    if (local < PAIRS && first_pair + local < N / 2u) {
        begin_copy(first_pair + local);
    }
}

fn finish(r: u32, first_pair: u32, local: u32) {
    let n = first_pair + local;
    let valid = local < PAIRS && n < N / 2u;
    var value = 0.0;
    if (valid) {
        let sum = sums_of(local) * scale();
        value = activate_one(ACT, sum.x) * sum.y;
        y[n] = value;
    }
    emit_copy(n, value, valid, local);
}
