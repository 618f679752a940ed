// The weighted sum over a row's experts, and what it is added to: y[n] = (residual[n] +) Σ over k of weight[k] · sum[k, n]; and the
// copy of y for what normalises it next. Without a buffer of biases there is room for weights in three.

import package::copy::begin_copy;
import package::copy::emit_copy;
import package::lib::expert_residual::residual_of;
import package::lib::own_sums::begin;
import package::rows::experts::rows_of;

fn ahead_of(r: u32, n: u32) -> f32 {
    return residual_of(r, n);
}
