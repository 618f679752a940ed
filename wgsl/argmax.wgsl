// token[row] = the first token with the largest logit
//
// One workgroup per row, over the parts that argmax_part.wgsl found.
import package::lib::best::workgroup_best;
import package::lib::emit::emit_token;
import package::lib::order::better_of;

override VOCAB: u32 = 128256u;
override PART: u32 = 1024u;  // logits of a part
override RECENT: u32 = 256u; // tokens that a row's ring holds
override RING: u32 = 64u;    // draws that `ids` holds
override WORKGROUP: u32 = 256u;

@group(0) @binding(0) var<storage, read> parts: array<vec2<u32>>;      // [rows, 1 + parts of a row]
@group(0) @binding(1) var<storage, read_write> next: array<vec4<u32>>; // (rows, asked rows, draw, 0), then a row each
@group(0) @binding(2) var<storage, read_write> recent: array<u32>;     // [rows, 1 + RECENT]: count, then a ring of tokens
@group(0) @binding(3) var<storage, read_write> ids: array<u32>;        // [RING, rows]

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let count = (VOCAB + PART - 1u) / PART;
    let row = group.x * (1u + count);
    let draw = parts[row].x;
    var best = NO_CANDIDATE;
    for (var part = lane; part < count; part += WORKGROUP) {
        best = better_of(best, parts[row + 1u + part]);
    }
    best = workgroup_best(best, lane);
    if lane == 0u { emit_token(group.x, draw, select(best.y, NO_TOKEN, best.x == 0u)); }
}
