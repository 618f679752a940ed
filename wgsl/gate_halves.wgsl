// y[r, s, c] = act(x[r, s, c]) · x[r, s, STRETCH + c]: rows of x are stretches of gate and then up

import package::lib::grid::flat;
import package::lib::rows::rows_of;
import package::lib::clamped::gate_of;
import package::lib::clamped::up_of;
import package::lib::activation::activate_one;

override COLS: u32 = 64u;            // numbers of a row of y
override STRIDE: u32 = 64u;          // from a row of y to the next
override GATE_STRIDE: u32 = 128u;    // from a row of x to the next
override ACT: u32 = 0u;
override STRETCH: u32 = 64u;         // numbers of gate, and of up, of a stretch

@group(0) @binding(0) var<storage, read> step: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> x: array<f32>;                // [rows, GATE_STRIDE]
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;    // [rows, STRIDE]

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = flat(group) * 64u + lane;
    if (i >= rows_of(step[0]) * (STRIDE / 4u)) {
        return;
    }
    let r = i / (STRIDE / 4u);
    var values = vec4<f32>();
    for (var k = 0u; k < 4u; k++) {
        let c = i % (STRIDE / 4u) * 4u + k;
        if (c < COLS) {
            let at = r * GATE_STRIDE + c / STRETCH * (2u * STRETCH) + c % STRETCH;
            values[k] = activate_one(ACT, gate_of(x[at])) * up_of(x[at + STRETCH]);
        }
    }
    y[i] = values;
}
