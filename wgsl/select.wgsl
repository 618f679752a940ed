// y[i] = x[output row i]

import package::lib::grid::flat;

override STRIDE: u32 = 64u;

@group(0) @binding(0) var<storage, read> step: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;        // [rows, STRIDE]
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;  // [outputs, STRIDE]

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = flat(group) * 64u + lane;
    let fours = STRIDE / 4u;
    if (i >= step[0].y * fours) {
        return;
    }
    let row = step[1u + i / fours].w;
    y[i] = x[row * fours + i % fours];
}
