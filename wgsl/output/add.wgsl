// The sums and a residual: y[n] = residual[n] + sum[n] (+ bias[n]); and the twin of y for what normalises it next. One row.

import package::twin::emit;

override BIAS: u32 = 0u;

@group(0) @binding(2) var<storage, read_write> y: array<f32>;         // [N]
@group(0) @binding(3) var<storage, read> bias: array<f32>;            // or anything
@group(0) @binding(4) var<storage, read> residual: array<f32>;        // [N]

fn finish(r: u32, first_pair: u32, local: u32) {
    let n = 2u * first_pair + local;
    let valid = local < 2u * PAIRS && n < N;
    var value = 0.0;
    if (valid) {
        value = sums_of(local / 2u)[local % 2u] * row_scale + residual[n];
        if (BIAS != 0u) {
            value += bias[n];
        }
        y[n] = value;
    }
    emit(n, value, valid, local);
}
