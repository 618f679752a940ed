// y[r, c] = act(gate[r, c]) · up[r, c], or act(gate[r]) · up[r, c]

import package::lib::grid::flat;
import package::lib::rows::rows_of;
import package::lib::activation::activate;
import package::lib::activation::activate_one;
import package::lib::clamped::gate_of;
import package::lib::clamped::gates_of;
import package::lib::clamped::ups_of;

override STRIDE: u32 = 64u;
override ACT: u32 = 0u;
override GATE_STRIDE: u32 = 64u;
override GATE_ONE: u32 = 0u;      // 1: the gate is one number a row

@group(0) @binding(0) var<storage, read> step: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> gate: array<vec4<f32>>;     // [rows, STRIDE]
@group(0) @binding(2) var<storage, read> up: array<vec4<f32>>;       // [rows, STRIDE]
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;  // [rows, STRIDE]

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = flat(group) * 64u + lane;
    if (i >= rows_of(step[0]) * (STRIDE / 4u)) {
        return;
    }
    if (GATE_ONE == 1u) {
        y[i] = activate_one(ACT, gate_of(gate[i / (STRIDE / 4u) * (GATE_STRIDE / 4u)].x)) * ups_of(up[i]);
        return;
    }
    y[i] = activate(ACT, gates_of(gate[i])) * ups_of(up[i]);
}
