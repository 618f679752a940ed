// The copy of a value of one row: what the next matvec multiplies, where no kernel before it wrote it along the way.

import package::lib::grid::flat;
import package::copy::begin_copy;
import package::copy::emit_copy;

override WORKGROUP: u32 = 64u;
override COLS: u32 = 64u;

@group(0) @binding(0) var<storage, read> x: array<f32>;               // [COLS]

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = flat(group) * WORKGROUP + local;
    let valid = i < COLS;
    var value = 0.0;
    if (valid) {
        value = x[i];
        begin_copy(i);
    }
    emit_copy(i, value, valid, local);
}
