// y[h] = Σ over p of softmax over p (SCALE · q[h] · k[p, g]) · v[p, g] for one row, g = h / (HEADS / KV_HEADS)
//
// A workgroup takes SHARE heads that read the same keys and values, and SPAN positions, all at once: an invocation multiplies a quarter
// of a key, and every team finds the largest score and the sum of weights for itself, so that there are few barriers. With PARTIAL
// spans are put together by attend_join.wgsl; without, there is one span.

import package::cache::CacheFour;
import package::lib::invocation::Invocation;
import package::twin::emit;

override HEADS: u32 = 1u;
override KV_HEADS: u32 = 1u;
override HEAD_DIM: u32 = 64u;
override FOURS: u32 = 16u;        // HEAD_DIM / 4
override QUARTERS: u32 = 4u;      // FOURS / 4, rounded up: invocations of a key
override SCALE: f32 = 1.0;
override WINDOW: u32 = 0u;
override CONTEXT: u32 = 1u;
override SHARE: u32 = 1u;         // 4 at most
override PARTIAL: u32 = 0u;
override SPAN: u32 = 128u;
override SCORES: u32 = 128u;      // SHARE · SPAN
override PRODUCTS: u32 = 512u;    // SHARE · SPAN · QUARTERS
override WORKGROUP: u32 = 256u;

@group(0) @binding(0) var<storage, read> step: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> q: array<vec4<f32>>;            // [HEADS, FOURS]
// y[HEADS, FOURS]; with PARTIAL [spans, HEADS, FOURS + 1], each head's sum and behind it (largest score, sum of weights, 0, 0)
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> keys: array<CacheFour>;         // [slots, CONTEXT, KV_HEADS, FOURS]
@group(0) @binding(5) var<storage, read> values: array<CacheFour>;       // [slots, CONTEXT, KV_HEADS, FOURS]

var<workgroup> products: array<f32, PRODUCTS>;
var<workgroup> scores: array<f32, SCORES>;
var<workgroup> sums: array<vec4<f32>, WORKGROUP>;

@compute @workgroup_size(WORKGROUP)
fn main(at: Invocation) {
    let lane = at.local;
    let first_head = at.group.x * SHARE;
    let head = first_head / (HEADS / KV_HEADS) * FOURS;
    let line = KV_HEADS * FOURS;

    // Neighbours multiply neighbouring quarters of a key; an invocation has the same quarter of all its keys.
    let quarter = lane % QUARTERS;
    let rank = lane / QUARTERS;
    let ranks = WORKGROUP / QUARTERS;
    var query: array<vec4<f32>, 16>;
    for (var h = 0u; h < SHARE; h++) {
        for (var k = 0u; k < 4u; k++) {
            query[h * 4u + k] = q[(first_head + h) * FOURS + min(quarter * 4u + k, FOURS - 1u)] * SCALE;
        }
    }
    let row = step[1];
    var first = select(row.z + 1u - min(row.z + 1u, WINDOW), 0u, WINDOW == 0u);
    var end = row.z + 1u;
    if (PARTIAL == 1u) {
        first = max(first, at.group.z * SPAN);
        end = max(first, min(end, (at.group.z + 1u) * SPAN));
    }
    let count = end - first;
    let start = (row.y * CONTEXT + first) * line + head;
    if (rank < ranks) {
        for (var p = rank; p < count; p += ranks) {
            var found = vec4<f32>();
            for (var k = 0u; k < 4u; k++) {
                let c = quarter * 4u + k;
                if (FOURS % 4u == 0u || c < FOURS) {
                    let key = cache_load(keys[start + p * line + c]);
                    for (var h = 0u; h < SHARE; h++) {
                        found[h] += dot(query[h * 4u + k], key);
                    }
                }
            }
            for (var h = 0u; h < SHARE; h++) {
                products[(h * SPAN + p) * QUARTERS + quarter] = found[h];
            }
        }
    }
    workgroupBarrier();
    for (var i = lane; i < SHARE * count; i += WORKGROUP) {
        let at_score = i / count * SPAN + i % count;
        var sum = 0.0;
        for (var k = 0u; k < QUARTERS; k++) {
            sum += products[at_score * QUARTERS + k];
        }
        scores[at_score] = sum;
    }
    workgroupBarrier();
    var largest = vec4<f32>(-3.0e38);
    var total = vec4<f32>();
    for (var h = 0u; h < SHARE; h++) {
        var most = -3.0e38;
        for (var p = lane_of(at); p < count; p += lanes_of(at)) {
            most = max(most, scores[h * SPAN + p]);
        }
        largest[h] = team_max(most, at);
        var sum = 0.0;
        for (var p = lane_of(at); p < count; p += lanes_of(at)) {
            sum += exp(scores[h * SPAN + p] - largest[h]);
        }
        total[h] = team_sum(vec3<f32>(sum, 0.0, 0.0), at).x;
    }
    workgroupBarrier();
    for (var i = lane; i < SHARE * count; i += WORKGROUP) {
        let at_score = i / count * SPAN + i % count;
        scores[at_score] = exp(scores[at_score] - largest[i / count]);
    }
    workgroupBarrier();

    // FOURS neighbours are the dimensions of a value; each such line of invocations takes every LINES-th position.
    let lines = WORKGROUP / FOURS;
    var acc: array<vec4<f32>, 4>;
    if (lane / FOURS < lines) {
        for (var p = lane / FOURS; p < count; p += lines) {
            let value = cache_load(values[start + p * line + lane % FOURS]);
            for (var h = 0u; h < SHARE; h++) {
                acc[h] += scores[h * SPAN + p] * value;
            }
        }
    }
    for (var h = 0u; h < SHARE; h++) {
        sums[lane] = acc[h];
        workgroupBarrier();
        var sum = vec4<f32>();
        if (lane < FOURS) {
            for (var l = 0u; l < lines; l++) {
                sum += sums[l * FOURS + lane];
            }
        }
        workgroupBarrier();
        if (PARTIAL == 1u) {
            let place = (at.group.z * HEADS + first_head + h) * (FOURS + 1u);
            if (lane < FOURS) {
                y[place + lane] = sum;
            }
            if (lane == 0u) {
                y[place + FOURS] = vec4<f32>(largest[h], total[h], 0.0, 0.0);
            }
            continue;
        }
        sum /= total[h];
        if (lane < FOURS) {
            y[(first_head + h) * FOURS + lane] = sum;
            sums[lane] = sum;
        }
        workgroupBarrier();
        for (var i = 0u; i < HEAD_DIM; i += WORKGROUP) {
            let n = i + lane;
            let valid = n < HEAD_DIM;
            var value = 0.0;
            if (valid) {
                value = sums[n / 4u][n % 4u];
            }
            emit((first_head + h) * HEAD_DIM + n, value, valid, lane);
            workgroupBarrier();
        }
    }
}
