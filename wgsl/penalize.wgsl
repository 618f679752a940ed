// logits[o, t] = NaN, which is never chosen, for each banned token t of the slot; then
// logits[o, t] = logits[o, t] > 0 ? logits[o, t] / penalty : logits[o, t] · penalty, for each recent token t of the slot once
//
// One workgroup per output. Who finds a token first puts the step's stamp on it, and whoever finds the stamp leaves it alone.
import package::lib::order::order_key;
import package::lib::order::order_value;
import package::lib::sampling::Sampling;

override VOCAB: u32 = 128256u;
override VOCAB_STRIDE: u32 = 128256u;
override BANNED: u32 = 31u;  // banned tokens of a slot at most
override WORKGROUP: u32 = 256u;

@group(0) @binding(0) var<storage, read_write> logits: array<f32>;      // [outputs, VOCAB_STRIDE]
@group(0) @binding(1) var<storage, read> sampling: array<Sampling>;     // [slots]
@group(0) @binding(2) var<storage, read> recent: array<u32>;            // capacity, then [slots, 1 + capacity]: count and a ring of tokens
@group(0) @binding(3) var<storage, read> step: array<vec4<u32>>;        // (rows, outputs, stamp, table), then a row each
@group(0) @binding(4) var<storage, read_write> seen: array<atomic<u32>>; // [outputs, VOCAB]
@group(0) @binding(5) var<storage, read> banned: array<u32>;            // [slots, 1 + BANNED]: count and tokens

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let output = group.x;
    let slot = step[1u + step[1u + output].w].y;
    for (var i = lane; i < banned[slot * (1u + BANNED)]; i += WORKGROUP) {
        let token = banned[slot * (1u + BANNED) + 1u + i];
        // Not a constant: the language has no NaN among its constants.
        if token < VOCAB { logits[output * VOCAB_STRIDE + token] = bitcast<f32>(0x7fc00000u + i); }
    }
    storageBarrier();
    // Rows behind a slot's first output are drafts, which no ring knows.
    var drafts = 0u;
    while drafts < output && step[1u + step[output - drafts].w].y == slot { drafts++; }
    let penalty = sampling[slot].penalty;
    let capacity = recent[0];
    let ring = 1u + slot * (1u + capacity);
    let count = recent[ring];
    let window = select(min(min(count + drafts, sampling[slot].last_n), capacity), 0u, penalty == 1.0);
    let stamp = step[0].z + 1u;
    for (var i = lane; i < window; i += WORKGROUP) {
        var token: u32;
        if i < drafts {
            token = step[1u + step[1u + output - i].w].x;
        } else {
            token = recent[ring + 1u + (count - 1u - (i - drafts)) % capacity];
        }
        if token >= VOCAB { continue; }
        let at = output * VOCAB_STRIDE + token;
        if order_key(logits[at]) > 0u && atomicExchange(&seen[output * VOCAB + token], stamp) != stamp {
            let logit = order_value(order_key(logits[at]));
            logits[at] = select(logit * penalty, logit / penalty, logit > 0.0);
        }
    }
}
