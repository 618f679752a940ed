// y[r, g, c] = norm(x)[r, g, c] · silu(z[r, g, c]), or norm(x · silu(z)); norm is the RMS norm of each group of a row. And the copy of y for
// what multiplies it next, where groups are whole blocks of one.

import package::lib::grid::flat;
import package::lib::activation::activate_one;
import package::lib::reduce::workgroup_sum_f32;
import package::lib::rows::rows_of;
import package::copy::emit_copy;

override COLS: u32 = 64u;            // numbers of a group
override STRIDE: u32 = 64u;
override GROUPS: u32 = 1u;           // groups of a row
override WEIGHT_GROUPS: u32 = 1u;    // groups that have a weight of their own: one or all
override GATE_FIRST: u32 = 0u;       // 1: the gate is in front of the norm
override EPS: f32 = 1e-5;
override WORKGROUP: u32 = 256u;

@group(0) @binding(0) var<storage, read> step: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> x: array<f32>;          // [rows, STRIDE]
@group(0) @binding(2) var<storage, read> z: array<f32>;          // [rows, STRIDE]
@group(0) @binding(3) var<storage, read> w: array<f32>;          // [WEIGHT_GROUPS, COLS]
@group(0) @binding(4) var<storage, read_write> y: array<f32>;    // [rows, STRIDE]

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group_id: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    // Groups past the last row are computed like any other: nobody reads them, and barriers stay uniform.
    let group = min(flat(group_id), max(rows_of(step[0]), 1u) * GROUPS - 1u);
    let start = group / GROUPS * STRIDE + group % GROUPS * COLS;
    var sum = 0.0;
    for (var c = lane; c < COLS; c += WORKGROUP) {
        var value = x[start + c];
        if (GATE_FIRST == 1u) {
            value *= activate_one(0u, z[start + c]);
        }
        sum += value * value;
    }
    let scale = 1.0 / sqrt(workgroup_sum_f32(sum, lane) / f32(COLS) + EPS);
    for (var first = 0u; first < COLS; first += WORKGROUP) {
        let c = first + lane;
        var value = 0.0;
        if (c < COLS) {
            value = x[start + c] * scale * w[group % WEIGHT_GROUPS * COLS + c] * activate_one(0u, z[start + c]);
            y[start + c] = value;
        }
        emit_copy(group / GROUPS, group % GROUPS * COLS + c, value, c < COLS, lane);
        workgroupBarrier();
    }
}
