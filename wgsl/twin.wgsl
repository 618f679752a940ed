// The twin of a value of one row: what the next matvec multiplies, where no kernel before it wrote it along the way.

import package::lib::grid::flat;
import package::twin::begin_twin;
import package::twin::emit;

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
        begin_twin(i);
    }
    emit(i, value, valid, local);
}
