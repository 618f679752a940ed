// y[r, h] = Σ over p of softmax over p (SCALE · q[r, h] · k[p, g]) · v[p, g], p up to r's position, g = h / (HEADS / KV_HEADS)
//
// One workgroup for a row and a head, with an online softmax (Milakov & Gimelshein 2018, arXiv 1805.02867): positions come in
// tiles of one to an invocation; a new largest score rescales what was summed before.

import package::lib::grid::flat;
import package::lib::reduce::workgroup_sum_f32;
import package::keys::key_fetch;
import package::values::value_fetch;
import package::lib::kv_layout::page_of;
import package::lib::score_scale::score_scale;
import package::lib::seen::first_seen;

override STRIDE: u32 = 64u;
override HEADS: u32 = 1u;
override KV_HEADS: u32 = 1u;
override SOFTCAP: f32 = 0.0;     // bounds scores softly, if above 0
override SINKS: u32 = 0u;        // 1: each head has a score that no position has
override WORKGROUP: u32 = 64u;
override FOURS: u32 = 16u;       // numbers of a head, in fours

@group(0) @binding(0) var<storage, read> step: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> q: array<vec4<f32>>;          // [rows, STRIDE]
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;    // [rows, STRIDE]
@group(0) @binding(3) var<storage, read> sinks: array<f32>;            // [HEADS], or anything
@group(0) @binding(4) var<storage, read> keys: array<KeyElement>;      // see lib/kv_layout.wgsl
@group(0) @binding(5) var<storage, read> values: array<ValueElement>;

var<workgroup> scores: array<f32, WORKGROUP>;
var<workgroup> query: array<vec4<f32>, FOURS>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group_id: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let group = flat(group_id);
    let r = min(group / HEADS, max(step[0].x, 1u) - 1u);
    let h = group % HEADS;
    let row = step[1u + r];
    let end = row.z + 1u;
    let first = first_seen(end);
    let head = h / (HEADS / KV_HEADS) * FOURS;

    for (var c = lane; c < FOURS; c += WORKGROUP) {
        query[c] = q[r * (STRIDE / 4u) + h * FOURS + c] * score_scale(row.z);
    }
    workgroupBarrier();

    // Each invocation sums up to four vectors of the head: heads of 256 with 16 invocations at least.
    var acc: array<vec4<f32>, 4>;
    var largest = -3.0e38;
    var total = 0.0;
    if (SINKS == 1u) {
        largest = sinks[h];
        total = 1.0;
    }
    for (var p0 = first; p0 < end; p0 += WORKGROUP) {
        let p = p0 + lane;
        var score = -3.0e38;
        if (p < end) {
            score = 0.0;
            let k = key_place(page_of(row.y, p), p, head);
            for (var c = 0u; c < FOURS; c++) {
                score += dot(query[c], key_load(key_fetch(k, c)));
            }
            if (SOFTCAP > 0.0) {
                score = SOFTCAP * tanh(clamp(score / SOFTCAP, -15.0, 15.0));
            }
        }
        scores[lane] = score;
        workgroupBarrier();
        var best = largest;
        for (var i = 0u; i < min(WORKGROUP, end - p0); i++) {
            best = max(best, scores[i]);
        }
        workgroupBarrier();
        let weight = select(0.0, exp(score - best), p < end);
        scores[lane] = weight;
        let rescale = exp(largest - best);
        total = total * rescale + workgroup_sum_f32(weight, lane);
        largest = best;
        var slice = 0u;
        for (var c = lane; c < FOURS; c += WORKGROUP) {
            var sum = acc[slice] * rescale;
            for (var i = 0u; i < min(WORKGROUP, end - p0); i++) {
                let p = p0 + i;
                sum += scores[i] * value_load(value_fetch(value_place(page_of(row.y, p), p, head), c));
            }
            acc[slice] = sum;
            slice++;
        }
        workgroupBarrier();
    }
    var slice = 0u;
    for (var c = lane; c < FOURS; c += WORKGROUP) {
        y[r * (STRIDE / 4u) + h * FOURS + c] = acc[slice] / total;
        slice++;
    }
}
