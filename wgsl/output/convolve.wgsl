// A convolution over positions of the sums, of one row: y[n] = act(Σ over i < TAPS − 1 of w[n, i] · state[i-th back, n] + w[n, TAPS − 1] · sum[n]); and the
// copy of y for what reads it next. Each sum then takes its place in the state, which nobody but its own invocation reads: short_conv.wgsl.

import package::lib::activation::activate_one;
import package::copy::begin_copy;
import package::copy::emit_copy;
import package::lib::conv_place::conv_place;
import package::lib::own_sums::begin;
import package::rows::own::rows_of;

override TAPS: u32 = 4u;
override ACTIVE: u32 = 0u;        // 0: results are left as they are
override ACT: u32 = 0u;

const FIRST_OUT: u32 = 0u;

@group(0) @binding(3) var<storage, read> taps: array<f32>;            // [N, TAPS]
@group(0) @binding(4) var<storage, read_write> state: array<f32>;     // [slots, TAPS − 1, N]

var<private> last_tap: f32;
var<private> place: u32; // of the sum, in the state

fn ahead_of(r: u32, n: u32) -> f32 {
    let row = step[1u + r];
    place = conv_place(row.y, row.z, N, n);
    last_tap = taps[n * TAPS + TAPS - 1u];
    var sum = 0.0;
    for (var i = 0u; i + 1u < TAPS; i++) {
        let back = TAPS - 1u - i;
        // Asked for in any case: what is loaded in a branch has come before the branch ends.
        let kept = state[conv_place(row.y, row.z - min(back, row.z), N, n)];
        sum += taps[n * TAPS + i] * select(0.0, kept, back <= row.z);
    }
    return sum;
}

fn value_of(sum: f32) -> f32 {
    let input = sum * scale();
    state[place] = input;
    let value = ahead + last_tap * input;
    if (ACTIVE == 1u) {
        return activate_one(ACT, value);
    }
    return value;
}
