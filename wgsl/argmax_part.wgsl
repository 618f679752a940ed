// parts[row, 1 + part] = (key of the largest logit of this part of the row, the first token that has it); parts[row, 0].x = stamp
//
// One workgroup per part and row: the first half of argmax.wgsl.
import package::lib::best::workgroup_best;
import package::lib::order::better_of;
import package::lib::order::order_key;

override VOCAB: u32 = 128256u;
override VOCAB_STRIDE: u32 = 128256u;
override PART: u32 = 1024u; // logits of a part
override WORKGROUP: u32 = 256u;

@group(0) @binding(0) var<storage, read> logits: array<f32>;            // [rows, VOCAB_STRIDE]
@group(0) @binding(1) var<storage, read> step: array<vec4<u32>>;        // (rows, outputs, stamp, table), then a row each
@group(0) @binding(2) var<storage, read_write> parts: array<vec2<u32>>; // [rows, 1 + parts of a row]

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let start = group.y * VOCAB_STRIDE;
    let first = group.x * PART;
    let stamp = step[0].z;
    var best = NO_CANDIDATE;
    for (var token = first + lane; token < min(first + PART, VOCAB); token += WORKGROUP) {
        best = better_of(best, vec2<u32>(order_key(logits[start + token]), token));
    }
    best = workgroup_best(best, lane);
    let row = group.y * (1u + (VOCAB + PART - 1u) / PART);
    if lane == 0u {
        parts[row + 1u + group.x] = best;
        // The next kernel takes the stamp from here, since its first output moves the step on while others may not have read it.
        if group.x == 0u { parts[row] = vec2<u32>(stamp, 0u); }
    }
}
