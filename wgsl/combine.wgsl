// y[r, n] = (residual[r, n] +) Σ over k of weight[r, k] · x[r, k, n], the weights those of row r's route

import package::lib::grid::flat;
import package::lib::rows::rows_of;

override N: u32 = 64u;
override USED: u32 = 2u;
override WEIGHTED: u32 = 1u;    // 0: as if all weights were 1
override RESIDUAL: u32 = 0u;    // 1: the sum is added to something
override STRIDE: u32 = 128u;
override ROUTE_STRIDE: u32 = 8u;
override OUT_STRIDE: u32 = 64u;

@group(0) @binding(0) var<storage, read> step: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> x: array<f32>;            // [rows, STRIDE]
@group(0) @binding(2) var<storage, read> route: array<f32>;        // [rows, ROUTE_STRIDE]
@group(0) @binding(3) var<storage, read_write> y: array<f32>;      // [rows, OUT_STRIDE]
@group(0) @binding(4) var<storage, read> residual: array<f32>;     // [rows, OUT_STRIDE], or anything

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = flat(group) * 64u + lane;
    let r = i / N;
    if (r >= rows_of(step[0])) {
        return;
    }
    let n = i % N;
    var sum = 0.0;
    for (var k = 0u; k < USED; k++) {
        sum += select(1.0, route[r * ROUTE_STRIDE + USED + k], WEIGHTED == 1u) * x[r * STRIDE + k * N + n];
    }
    if (RESIDUAL != 0u) {
        sum += residual[r * OUT_STRIDE + n];
    }
    y[r * OUT_STRIDE + n] = sum;
}
