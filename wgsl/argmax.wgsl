// token[output] = the first token with the largest logit
//
// One workgroup per output, over the parts that argmax_part.wgsl found.
import package::lib::best::workgroup_best;
import package::lib::emit::emit_token;
import package::lib::order::better_of;

override VOCAB: u32 = 128256u;
override PART: u32 = 1024u;  // logits of a part
override WORKGROUP: u32 = 256u;

@group(0) @binding(0) var<storage, read> parts: array<vec2<u32>>;      // [outputs, 1 + parts of a row]
@group(0) @binding(1) var<storage, read_write> step: array<vec4<u32>>; // (rows, outputs, stamp, table), then a row each
@group(0) @binding(2) var<storage, read_write> recent: array<u32>;     // capacity, then [slots, 1 + capacity]: count and a ring of tokens
@group(0) @binding(3) var<storage, read_write> ids: array<u32>;        // [steps, outputs]
@group(0) @binding(4) var<storage, read_write> last: array<u32>;       // [slots]

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let count = (VOCAB + PART - 1u) / PART;
    let row = group.x * (1u + count);
    let stamp = parts[row].x;
    var best = NO_CANDIDATE;
    for (var part = lane; part < count; part += WORKGROUP) {
        best = better_of(best, parts[row + 1u + part]);
    }
    best = workgroup_best(best, lane);
    if lane == 0u { emit_token(group.x, stamp, select(best.y, NO_TOKEN, best.x == 0u)); }
}
