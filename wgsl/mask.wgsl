// logits[o, t] = NaN, which is never chosen, for each token t that the mask of the slot leaves out, where the slot has one
//
// One workgroup per part and row.

override VOCAB: u32 = 128256u;
override VOCAB_STRIDE: u32 = 128256u;
override PART: u32 = 1024u; // logits of a part
override WORKGROUP: u32 = 256u;

@group(0) @binding(0) var<storage, read_write> logits: array<f32>; // [outputs, VOCAB_STRIDE]
@group(0) @binding(1) var<storage, read> step: array<vec4<u32>>;   // (rows, outputs, stamp, table), then a row each
@group(0) @binding(2) var<storage, read> masks: array<u32>;        // [slots, 1 + words]: whether there is one, then a bit for each token

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let slot = step[1u + step[1u + group.y].w].y;
    let mask = slot * (1u + (VOCAB + 31u) / 32u);
    if masks[mask] == 0u { return; }
    let first = group.x * PART;
    for (var token = first + lane; token < min(first + PART, VOCAB); token += WORKGROUP) {
        let may = (masks[mask + 1u + token / 32u] >> (token % 32u)) & 1u;
        // Not a constant: the language has no NaN among its constants.
        if may == 0u { logits[group.y * VOCAB_STRIDE + token] = bitcast<f32>(0x7fc00000u + (token & 0xffu)); }
    }
}
