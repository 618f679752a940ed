// The weighted sum over a row's experts, which have biases, and what it is added to: y[n] = (residual[n] +) Σ over k of weight[k] · (sum[k, n] + bias[k, n]); and the
// copy of y for what normalises it next.

import package::copy::begin_copy;
import package::copy::emit_copy;
import package::lib::expert_residual::residual_of;
import package::lib::own_sums::begin;
import package::rows::experts::rows_of;

@group(0) @binding(3) var<storage, read> bias: array<f32>;            // [EXPERTS, N]

fn ahead_of(r: u32, n: u32) -> f32 {
    var added = residual_of(r, n);
    for (var k = 0u; k < STRETCHES; k++) {
        added += weight_of(k) * bias[expert_row(k) + n];
    }
    return added;
}
