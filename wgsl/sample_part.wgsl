// parts[row, 1 + part] = (key of the largest logit m of this part of the row, Σ exp(logit − m)); parts[row, 0].x = stamp
//
// One workgroup per part and row: the first half of sample.wgsl.
import package::lib::order::order_key;
import package::lib::order::order_value;
import package::lib::reduce::workgroup_max_u32;
import package::lib::reduce::workgroup_sum_f32;

override VOCAB: u32 = 128256u;
override VOCAB_STRIDE: u32 = 128256u;
override PART: u32 = 256u; // logits of a part
override WORKGROUP: u32 = 256u;

@group(0) @binding(0) var<storage, read> logits: array<f32>;            // [rows, VOCAB_STRIDE]
@group(0) @binding(1) var<storage, read> step: array<vec4<u32>>;        // (rows, outputs, stamp, table), then a row each
@group(0) @binding(2) var<storage, read_write> parts: array<vec2<u32>>; // [rows, 1 + parts of a row]

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let start = group.y * VOCAB_STRIDE;
    let first = group.x * PART;
    let end = min(first + PART, VOCAB);
    var most = 0u;
    for (var token = first + lane; token < end; token += WORKGROUP) { most = max(most, order_key(logits[start + token])); }
    most = workgroup_max_u32(most, lane);
    var mass = 0.0;
    for (var token = first + lane; token < end; token += WORKGROUP) {
        let key = order_key(logits[start + token]);
        if key > 0u { mass += exp(order_value(key) - order_value(most)); }
    }
    mass = workgroup_sum_f32(mass, lane);
    let row = group.y * (1u + (VOCAB + PART - 1u) / PART);
    if lane == 0u {
        parts[row + 1u + group.x] = vec2<u32>(most, bitcast<u32>(mass));
        // The next kernel takes the stamp from here, since its first output moves the step on while others may not have read it.
        if group.x == 0u { parts[row] = vec2<u32>(step[0].z, 0u); }
    }
}
