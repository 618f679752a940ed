// y[r, g, c] = x[r, g, FIRST + c], of groups of GROUP numbers LEN

import package::lib::grid::flat;
import package::lib::rows::rows_of;

override COLS: u32 = 64u;        // of y
override LEN: u32 = 64u;
override GROUP: u32 = 128u;
override FIRST: u32 = 0u;
override STRIDE: u32 = 128u;
override OUT_STRIDE: u32 = 64u;

@group(0) @binding(0) var<storage, read> step: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> x: array<f32>;          // [rows, STRIDE]
@group(0) @binding(2) var<storage, read_write> y: array<f32>;    // [rows, OUT_STRIDE]

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = flat(group) * 64u + lane;
    let r = i / COLS;
    let n = i % COLS;
    if (r >= rows_of(step[0])) {
        return;
    }
    y[r * OUT_STRIDE + n] = x[r * STRIDE + n / LEN * GROUP + FIRST + n % LEN];
}
