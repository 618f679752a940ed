// Reads memory and does next to nothing with it: what a device reads at most, which is what decode is measured by.

import package::lib::grid::flat;

override VECTORS: u32 = 1024u;   // of the buffer
override GROUPS: u32 = 1u;       // workgroups
override WORKGROUP: u32 = 256u;

@group(0) @binding(0) var<storage, read> x: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read_write> y: array<u32>;    // [GROUPS · WORKGROUP]

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let id = flat(group) * WORKGROUP + lane;
    var sum = vec4<u32>();
    for (var i = id; i < VECTORS; i += GROUPS * WORKGROUP) {
        sum ^= x[i];
    }
    // Never true for a buffer of zeros, which the compiler does not know.
    if (sum.x + sum.y + sum.z + sum.w != 0u) {
        y[id] = sum.x;
    }
}
