// The copy of a value: what the next matvec multiplies, where no kernel before it wrote it along the way.

import package::lib::grid::flat;
import package::copy::begin_copy;
import package::copy::emit_copy;

override WORKGROUP: u32 = 64u;
override COLS: u32 = 64u;
override STRIDE: u32 = 64u;
override SHARES: u32 = 1u;        // rows of the copy to a row of x

@group(0) @binding(0) var<storage, read> step: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> x: array<f32>;               // [rows, STRIDE]

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let groups = (COLS + WORKGROUP - 1u) / WORKGROUP;
    let r = flat(group) / groups;
    let i = flat(group) % groups * WORKGROUP + local;
    let valid = i < COLS && r < step[0].x * SHARES;
    var value = 0.0;
    if (valid) {
        value = x[r / SHARES * STRIDE + r % SHARES * COLS + i];
        begin_copy(i);
    }
    emit_copy(r, i, value, valid, local);
}
