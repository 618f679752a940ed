// logits[row, t] = logits[row, t] > 0 ? logits[row, t] / penalty : logits[row, t] · penalty, for each recent token t once
//
// One workgroup per row.
import package::lib::order::order_key;
import package::lib::order::order_value;
import package::lib::sampling::Sampling;

override VOCAB: u32 = 128256u;
override VOCAB_STRIDE: u32 = 128256u;
override RECENT: u32 = 256u; // tokens that a row's ring holds
override WORKGROUP: u32 = 256u;

@group(0) @binding(0) var<storage, read_write> logits: array<f32>; // [rows, VOCAB_STRIDE]
@group(0) @binding(1) var<storage, read> sampling: Sampling;
@group(0) @binding(2) var<storage, read> recent: array<u32>;       // [rows, 1 + RECENT]: count, then a ring of tokens

var<workgroup> tokens: array<u32, RECENT>; // the last one first

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let ring = group.x * (1u + RECENT);
    let count = recent[ring];
    let window = min(min(count, sampling.last_n), RECENT);
    for (var i = lane; i < window; i += WORKGROUP) { tokens[i] = recent[ring + 1u + (count - 1u - i) % RECENT]; }
    workgroupBarrier();
    for (var i = lane; i < window; i += WORKGROUP) {
        let token = tokens[i];
        var first = token < VOCAB;
        for (var j = 0u; j < i; j++) { first = first && tokens[j] != token; }
        let at = group.x * VOCAB_STRIDE + token;
        if first && order_key(logits[at]) > 0u {
            let logit = order_value(order_key(logits[at]));
            logits[at] = select(logit * sampling.penalty, logit / sampling.penalty, logit > 0.0);
        }
    }
}
