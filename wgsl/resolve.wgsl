// token of r = what was sampled last for r's slot, in the rows that ask for it

import package::lib::grid::flat;

const LAST_SAMPLED: u32 = 0xffffffffu;

@group(0) @binding(0) var<storage, read_write> step: array<vec4<u32>>; // (rows, outputs, stamp, table), then a row each
@group(0) @binding(1) var<storage, read> last: array<u32>;             // [slots]

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let r = flat(group) * 64u + lane;
    if (r >= step[0].x) {
        return;
    }
    if (step[1u + r].x == LAST_SAMPLED) {
        step[1u + r].x = last[step[1u + r].y];
    }
}
