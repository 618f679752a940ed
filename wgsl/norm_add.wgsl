// y[r, c] = residual[r, c] + x[r, c] · w[c] / sqrt(mean over c of x[r, c]² + eps), maybe times a number; and the copy of y for what
// normalises it next
//
// x comes as its scaled copy (copy/f32.wgsl): x · w, and sums of squares of each 16, which every workgroup adds up for itself.

import package::lib::grid::flat;
import package::lib::reduce::workgroup_sum_f32;
import package::copy::begin_copy;
import package::copy::emit_copy;

override COLS: u32 = 64u;
override X_STRIDE: u32 = 64u;       // words from a row of the copy of x to the next
override STRIDE: u32 = 64u;         // from a row of y, and of the residual, to the next
override EPS: f32 = 1e-5;
override SCALED: u32 = 0u;          // 1: the sum is multiplied by a number
override WORKGROUP: u32 = 64u;

@group(0) @binding(0) var<storage, read> step: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> x: array<f32>;             // [rows, X_STRIDE]
@group(0) @binding(2) var<storage, read_write> y: array<f32>;       // [rows, STRIDE]
@group(0) @binding(3) var<storage, read> residual: array<f32>;      // [rows, STRIDE]
@group(0) @binding(4) var<storage, read> factor: array<f32>;        // one number, or anything

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group_id: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let groups = (COLS + WORKGROUP - 1u) / WORKGROUP;
    let group = flat(group_id);
    let r = min(group / groups, max(step[0].x, 1u) - 1u);
    let c = group % groups * WORKGROUP + lane;
    let valid = c < COLS && group / groups < step[0].x;
    let blocks = (COLS + 15u) / 16u;
    var squares = 0.0;
    for (var i = lane; i < blocks; i += WORKGROUP) {
        squares += x[r * X_STRIDE + 16u * blocks + i];
    }
    var scaled = 0.0;
    var rest = 0.0;
    if (valid) {
        scaled = x[r * X_STRIDE + c];
        rest = residual[r * STRIDE + c];
        begin_copy(c);
    }
    let scale = 1.0 / sqrt(workgroup_sum_f32(squares, lane) / f32(COLS) + EPS);
    var value = rest + scaled * scale;
    if (SCALED == 1u) {
        value *= factor[0];
    }
    if (valid) {
        y[r * STRIDE + c] = value;
    }
    emit_copy(r, c, value, valid, lane);
}
