// y[h] = Σ over p of softmax over p (SCALE · q[h] · k[p, g]) · v[p, g] for one row of few positions, g = h / (HEADS / KV_HEADS)
//
// One workgroup for a head, all positions at once: what counts here is not bytes but how often an invocation waits for another.
// Every team finds the largest score and the sum of weights for itself.

import package::cache::CacheFour;
import package::lib::invocation::Invocation;
import package::twin::emit;

override HEADS: u32 = 1u;
override KV_HEADS: u32 = 1u;
override HEAD_DIM: u32 = 64u;
override FOURS: u32 = 16u;        // HEAD_DIM / 4
override QUARTERS: u32 = 4u;      // FOURS / 4, rounded up: each invocation multiplies up to four vectors of a key
override SCALE: f32 = 1.0;
override WINDOW: u32 = 0u;
override CONTEXT: u32 = 1u;
override SHORT: u32 = 512u;       // more positions than there ever are
override PRODUCTS: u32 = 2048u;   // SHORT · QUARTERS
override WORKGROUP: u32 = 256u;

@group(0) @binding(0) var<storage, read> step: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> q: array<vec4<f32>>;            // [HEADS, FOURS]
@group(0) @binding(2) var<storage, read_write> y: array<f32>;            // [HEADS, HEAD_DIM]
@group(0) @binding(4) var<storage, read> keys: array<CacheFour>;         // [slots, CONTEXT, KV_HEADS, FOURS]
@group(0) @binding(5) var<storage, read> values: array<CacheFour>;       // [slots, CONTEXT, KV_HEADS, FOURS]

var<workgroup> products: array<f32, PRODUCTS>;
var<workgroup> scores: array<f32, SHORT>;
var<workgroup> sums: array<vec4<f32>, WORKGROUP>;

@compute @workgroup_size(WORKGROUP)
fn main(at: Invocation) {
    let lane = at.local;
    let h = at.group.x;
    let head = h / (HEADS / KV_HEADS) * FOURS;
    let line = KV_HEADS * FOURS;
    let row = step[1];
    let first = select(row.z + 1u - min(row.z + 1u, WINDOW), 0u, WINDOW == 0u);
    let count = row.z + 1u - first;
    let start = (row.y * CONTEXT + first) * line + head;

    // Neighbours multiply neighbouring quarters of a key.
    for (var i = lane; i < count * QUARTERS; i += WORKGROUP) {
        let p = i / QUARTERS;
        let c = i % QUARTERS * 4u;
        var sum = 0.0;
        for (var k = 0u; k < 4u; k++) {
            if (c + k < FOURS) {
                sum += dot(q[h * FOURS + c + k], cache_load(keys[start + p * line + c + k]));
            }
        }
        products[i] = sum * SCALE;
    }
    workgroupBarrier();
    for (var p = lane; p < count; p += WORKGROUP) {
        var sum = 0.0;
        for (var k = 0u; k < QUARTERS; k++) {
            sum += products[p * QUARTERS + k];
        }
        scores[p] = sum;
    }
    workgroupBarrier();
    var largest = -3.0e38;
    for (var p = lane_of(at); p < count; p += lanes_of(at)) {
        largest = max(largest, scores[p]);
    }
    largest = team_max(largest, at);
    var total = 0.0;
    for (var p = lane_of(at); p < count; p += lanes_of(at)) {
        total += exp(scores[p] - largest);
    }
    total = team_sum(vec3<f32>(total, 0.0, 0.0), at).x;

    // FOURS neighbours are the dimensions of a value; each such line of invocations takes every LINES-th position.
    let lines = WORKGROUP / FOURS;
    var sum = vec4<f32>();
    if (lane / FOURS < lines) {
        for (var p = lane / FOURS; p < count; p += lines) {
            sum += exp(scores[p] - largest) * cache_load(values[start + p * line + lane % FOURS]);
        }
    }
    sums[lane] = sum;
    workgroupBarrier();
    for (var i = 0u; i < HEAD_DIM; i += WORKGROUP) {
        let n = i + lane;
        let valid = n < HEAD_DIM;
        var value = 0.0;
        if (valid) {
            for (var l = 0u; l < lines; l++) {
                value += sums[l * FOURS + n / 4u][n % 4u];
            }
            value /= total;
            y[h * HEAD_DIM + n] = value;
        }
        emit(h * HEAD_DIM + n, value, valid, lane);
        workgroupBarrier();
    }
}
