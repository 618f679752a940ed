// y[r, c] = (x[r, c] − mean) / sqrt(variance + eps) · w[c] + b[c]; and the copy of y for what multiplies it next

import package::lib::grid::flat;
import package::lib::reduce::workgroup_sum_f32;
import package::lib::rows::rows_of;
import package::copy::emit_copy;

override COLS: u32 = 64u;
override STRIDE: u32 = 64u;
override EPS: f32 = 1e-5;
override BIAS: u32 = 1u;
override WORKGROUP: u32 = 256u;

@group(0) @binding(0) var<storage, read> step: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> x: array<f32>;          // [rows, STRIDE]
@group(0) @binding(2) var<storage, read> w: array<f32>;          // [COLS]
@group(0) @binding(3) var<storage, read> b: array<f32>;          // [COLS], or anything
@group(0) @binding(4) var<storage, read_write> y: array<f32>;    // [rows, STRIDE]

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group_id: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    // Rows past the last are computed like any other: nobody reads them, and barriers stay uniform.
    let r = min(flat(group_id), max(rows_of(step[0]), 1u) - 1u);
    let start = r * STRIDE;
    var sum = 0.0;
    for (var c = lane; c < COLS; c += WORKGROUP) {
        sum += x[start + c];
    }
    let mean = workgroup_sum_f32(sum, lane) / f32(COLS);
    // In a second pass: mean of squares minus square of mean loses digits where the mean is large.
    var square = 0.0;
    for (var c = lane; c < COLS; c += WORKGROUP) {
        let d = x[start + c] - mean;
        square += d * d;
    }
    let scale = 1.0 / sqrt(workgroup_sum_f32(square, lane) / f32(COLS) + EPS);
    for (var first = 0u; first < COLS; first += WORKGROUP) {
        let c = first + lane;
        var value = 0.0;
        if (c < COLS) {
            value = (x[start + c] - mean) * scale * w[c];
            if (BIAS == 1u) {
                value += b[c];
            }
            y[start + c] = value;
        }
        emit_copy(r, c, value, c < COLS, lane);
        workgroupBarrier();
    }
}
