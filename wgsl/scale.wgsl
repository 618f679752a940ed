// y[r, c] = FACTOR · x[r, c], or FACTOR · w · x[r, c]

import package::lib::grid::flat;
import package::lib::rows::rows_of;

override STRIDE: u32 = 64u;
override FACTOR: f32 = 1.0;
override WEIGHTED: u32 = 0u;

@group(0) @binding(0) var<storage, read> step: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;        // [rows, STRIDE]
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;  // [rows, STRIDE]
@group(0) @binding(3) var<storage, read> w: array<f32>;              // one number, or anything

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = flat(group) * 64u + lane;
    if (i >= rows_of(step[0]) * (STRIDE / 4u)) {
        return;
    }
    y[i] = select(FACTOR, FACTOR * w[0], WEIGHTED == 1u) * x[i];
}
