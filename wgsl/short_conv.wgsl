// y[r, c] = act(Σ over i < TAPS of w[c, i] · x[p − TAPS + 1 + i, c] (+ b[c])), p the position of row r, x the inputs of its slot; gated, a
// row is [b | g | u], x = b · u and y is multiplied by g.
//
// An invocation for each number. Inputs in front of a run of rows are in the state: its invocations of the run's first row compute the
// first rows, all that ask for it, and then write it, so that nobody reads what another has written over.

import package::lib::grid::flat;
import package::lib::activation::activate_one;
import package::lib::conv_place::conv_place;
import package::lib::runs::run_end;

override CHANNELS: u32 = 64u;
override TAPS: u32 = 4u;
override STRIDE: u32 = 64u;
override OUT_STRIDE: u32 = 64u;
override GATED: u32 = 0u;
override ACTIVE: u32 = 0u;       // 0: sums are left as they are
override ACT: u32 = 0u;
override BIAS: u32 = 0u;

@group(0) @binding(0) var<storage, read> step: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> x: array<f32>;             // [rows, STRIDE]
@group(0) @binding(2) var<storage, read> w: array<f32>;             // [CHANNELS, TAPS]
@group(0) @binding(3) var<storage, read> bias: array<f32>;          // [CHANNELS], or anything
@group(0) @binding(4) var<storage, read_write> state: array<f32>;   // [slots, TAPS − 1, CHANNELS]
@group(0) @binding(5) var<storage, read_write> y: array<f32>;       // [rows, OUT_STRIDE]

fn input(r: u32, c: u32) -> f32 {
    let near = x[r * STRIDE + c];
    if (GATED == 1u) {
        return near * x[r * STRIDE + 2u * CHANNELS + c];
    }
    return near;
}

// Writes the result of row r, in front of which the step has `near` rows of its slot.
fn write(r: u32, c: u32, near: u32) {
    let row = step[1u + r];
    var sum = 0.0;
    if (BIAS == 1u) {
        sum = bias[c];
    }
    for (var i = 0u; i < TAPS; i++) {
        let back = TAPS - 1u - i;
        if (back <= near) {
            sum += w[c * TAPS + i] * input(r - back, c);
        } else if (back <= row.z) {
            sum += w[c * TAPS + i] * state[conv_place(row.y, row.z - back, CHANNELS, c)];
        }
    }
    if (ACTIVE == 1u) {
        sum = activate_one(ACT, sum);
    }
    if (GATED == 1u) {
        sum *= x[r * STRIDE + CHANNELS + c];
    }
    y[r * OUT_STRIDE + c] = sum;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = flat(group) * 64u + lane;
    let r = i / CHANNELS;
    let c = i % CHANNELS;
    if (r >= step[0].x) {
        return;
    }
    let row = step[1u + r];
    var near = 0u;
    while (near < TAPS - 1u && near < r && step[r - near].y == row.y) {
        near++;
    }
    if (near == TAPS - 1u) {
        write(r, c, near);
    }
    if (near > 0u) {
        return;
    }
    let end = run_end(r);
    for (var k = 0u; k < TAPS - 1u && r + k < end; k++) {
        write(r + k, c, k);
    }
    for (var last = max(r, end - min(end, TAPS - 1u)); last < end; last++) {
        state[conv_place(row.y, row.z + last - r, CHANNELS, c)] = input(last, c);
    }
}
