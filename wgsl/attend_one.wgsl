// y[h] = Σ over p of softmax over p (SCALE · q[h] · k[p, g]) · v[p, g] for one row, g = h / (HEADS / KV_HEADS)
//
// A workgroup takes SHARE query heads that read the same keys and values, and either all positions, or with PARTIAL a span of
// them: then attend_join.wgsl puts the spans together. Positions come in tiles of one to an invocation; a new largest score rescales
// what was summed before (online softmax, Milakov & Gimelshein 2018, arXiv 1805.02867).

import package::cache::CacheFour;
import package::lib::order::order_key;
import package::lib::order::order_value;
import package::lib::reduce::workgroup_max_u32;
import package::lib::reduce::workgroup_sum_f32;
import package::twin::emit;

override HEADS: u32 = 1u;
override KV_HEADS: u32 = 1u;
override HEAD_DIM: u32 = 64u;
override FOURS: u32 = 16u;        // HEAD_DIM / 4
override SCALE: f32 = 1.0;
override WINDOW: u32 = 0u;
override CONTEXT: u32 = 1u;
override SHARE: u32 = 1u;
override SHARED_FOURS: u32 = 16u; // SHARE · FOURS
override PARTIAL: u32 = 0u;
override SPAN: u32 = 256u;
override WORKGROUP: u32 = 256u;
override SCORES: u32 = 256u;      // SHARE · WORKGROUP

@group(0) @binding(0) var<storage, read> step: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> q: array<vec4<f32>>;            // [HEADS, FOURS]
// y[HEADS, FOURS]; with PARTIAL [spans, HEADS, FOURS + 1], each head's sum and behind it (largest score, sum of weights, 0, 0)
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> keys: array<CacheFour>;         // [slots, CONTEXT, KV_HEADS, FOURS]
@group(0) @binding(5) var<storage, read> values: array<CacheFour>;       // [slots, CONTEXT, KV_HEADS, FOURS]

var<workgroup> query: array<vec4<f32>, SHARED_FOURS>;
var<workgroup> weights: array<f32, SCORES>;
var<workgroup> sums: array<vec4<f32>, WORKGROUP>;
var<workgroup> heads: array<vec4<f32>, SHARED_FOURS>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first_head = group.x * SHARE;
    let head = first_head / (HEADS / KV_HEADS) * FOURS;
    let line = KV_HEADS * FOURS;
    let row = step[1];
    let start = row.y * CONTEXT;
    var first = select(row.z + 1u - min(row.z + 1u, WINDOW), 0u, WINDOW == 0u);
    var end = row.z + 1u;
    if (PARTIAL == 1u) {
        first = max(first, group.z * SPAN);
        end = min(end, (group.z + 1u) * SPAN);
    }
    for (var i = lane; i < SHARED_FOURS; i += WORKGROUP) {
        query[i] = q[first_head * FOURS + i] * SCALE;
    }
    workgroupBarrier();

    // In the sum over values, FOURS neighbours are a head's dimensions; each such row of invocations takes every LINES-th position.
    let lines = WORKGROUP / FOURS;
    let four = lane % FOURS;
    let my_line = lane / FOURS;
    var acc: array<vec4<f32>, 8>;
    var largest: array<f32, 8>;
    var total: array<f32, 8>;
    for (var h = 0u; h < SHARE; h++) {
        largest[h] = -3.0e38;
        total[h] = 0.0;
        acc[h] = vec4<f32>();
    }
    for (var p0 = first; p0 < end; p0 += WORKGROUP) {
        let p = p0 + lane;
        var scores: array<f32, 8>;
        for (var h = 0u; h < SHARE; h++) {
            scores[h] = 0.0;
        }
        if (p < end) {
            let k = (start + p) * line + head;
            for (var c = 0u; c < FOURS; c++) {
                let key = cache_load(keys[k + c]);
                for (var h = 0u; h < SHARE; h++) {
                    scores[h] += dot(query[h * FOURS + c], key);
                }
            }
        }
        for (var h = 0u; h < SHARE; h++) {
            let score = select(-3.0e38, scores[h], p < end);
            let best = max(largest[h], order_value(workgroup_max_u32(order_key(score), lane)));
            let weight = select(0.0, exp(score - best), p < end);
            weights[h * WORKGROUP + lane] = weight;
            let rescale = exp(largest[h] - best);
            total[h] = total[h] * rescale + workgroup_sum_f32(weight, lane);
            acc[h] *= rescale;
            largest[h] = best;
        }
        workgroupBarrier();
        if (my_line < lines) {
            for (var i = my_line; i < min(WORKGROUP, end - p0); i += lines) {
                let value = cache_load(values[(start + p0 + i) * line + head + four]);
                for (var h = 0u; h < SHARE; h++) {
                    acc[h] += weights[h * WORKGROUP + i] * value;
                }
            }
        }
        workgroupBarrier();
    }

    for (var h = 0u; h < SHARE; h++) {
        sums[lane] = acc[h];
        workgroupBarrier();
        if (lane < FOURS) {
            var sum = sums[lane];
            for (var l = 1u; l < lines; l++) {
                sum += sums[l * FOURS + lane];
            }
            heads[h * FOURS + lane] = sum;
            if (PARTIAL == 0u) {
                heads[h * FOURS + lane] = sum / total[h];
            }
        }
        workgroupBarrier();
        if (PARTIAL == 1u && lane == 0u) {
            let at = (group.z * HEADS + first_head + h) * (FOURS + 1u) + FOURS;
            y[at] = vec4<f32>(largest[h], total[h], 0.0, 0.0);
        }
    }
    if (PARTIAL == 1u) {
        for (var i = lane; i < SHARED_FOURS; i += WORKGROUP) {
            y[(group.z * HEADS + first_head + i / FOURS) * (FOURS + 1u) + i % FOURS] = heads[i];
        }
        return;
    }
    for (var i = lane; i < SHARED_FOURS; i += WORKGROUP) {
        y[first_head * FOURS + i] = heads[i];
    }
    for (var i = 0u; i < 4u * SHARED_FOURS; i += WORKGROUP) {
        let n = i + lane;
        let valid = n < 4u * SHARED_FOURS;
        var value = 0.0;
        if (valid) {
            value = heads[n / 4u][n % 4u];
        }
        emit(first_head * HEAD_DIM + n, value, valid, lane);
        workgroupBarrier();
    }
}
