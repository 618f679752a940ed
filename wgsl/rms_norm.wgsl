// y[r, g, c] = x[r, g, c] · w[c] / sqrt(mean over c of x[r, g, c]² + eps): each group of a row is normalised on its own. And the copy of y for
// what multiplies it next, where a row is one group.

import package::lib::grid::flat;
import package::lib::reduce::workgroup_sum_f32;
import package::lib::rows::rows_of;
import package::copy::emit_copy;

override COLS: u32 = 64u;       // numbers of a group that are normalised
override REST: u32 = 0u;        // numbers behind them that stay as they are
override STRIDE: u32 = 64u;
override GROUPS: u32 = 1u;      // groups of a row
override WEIGHTED: u32 = 1u;    // 0: there is no weight
override EPS: f32 = 1e-5;
override WORKGROUP: u32 = 256u;

@group(0) @binding(0) var<storage, read> step: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> x: array<f32>;          // [rows, STRIDE]
@group(0) @binding(2) var<storage, read> w: array<f32>;          // [COLS], or anything
@group(0) @binding(3) var<storage, read_write> y: array<f32>;    // [rows, STRIDE]

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group_id: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    // Groups past the last row are computed like any other: nobody reads them, and barriers stay uniform.
    let group = min(flat(group_id), max(rows_of(step[0]), 1u) * GROUPS - 1u);
    let start = group / GROUPS * STRIDE + group % GROUPS * (COLS + REST);
    var sum = 0.0;
    for (var c = lane; c < COLS; c += WORKGROUP) {
        sum += x[start + c] * x[start + c];
    }
    let scale = 1.0 / sqrt(workgroup_sum_f32(sum, lane) / f32(COLS) + EPS);
    for (var first = 0u; first < COLS + REST; first += WORKGROUP) {
        let c = first + lane;
        var value = 0.0;
        if (c < COLS + REST) {
            value = x[start + c];
            if (c < COLS) {
                value *= scale;
                if (WEIGHTED == 1u) {
                    value *= w[c];
                }
            }
            y[start + c] = value;
        }
        emit_copy(group / GROUPS, c, value, c < COLS + REST, lane);
        workgroupBarrier();
    }
}
