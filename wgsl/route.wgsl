// The USED experts of each row, from the most likely on, and then their weights: see ops/route.rs. One workgroup for a row.
//
// An expert's place is the number of experts that are before it: no sorting, and of equal ones the first is before the other.

import package::lib::grid::flat;
import package::lib::reduce::workgroup_sum_f32;
import package::lib::rows::rows_of;

override EXPERTS: u32 = 8u;
override USED: u32 = 2u;
override SIGMOID: u32 = 0u;       // 0: softmax over all
override LOGIT_FACTOR: f32 = 1.0;
override NORMALISE: u32 = 1u;     // 1: weights are divided by their sum
override NORM_EPS: f32 = 0.0;     // added to that sum
override SCALE: f32 = 1.0;
override BIAS: u32 = 0u;
override FACTORS: u32 = 0u;       // 1: each expert has a factor of its weight
override GROUPS: u32 = 1u;
override GROUPS_USED: u32 = 1u;
override GROUP_BEST: u32 = 2u;    // how many of a group's experts make its worth: 1 or 2
override STRIDE: u32 = 8u;
override OUT_STRIDE: u32 = 8u;
override WORKGROUP: u32 = 64u;

const LEAST: f32 = -3.0e38;

@group(0) @binding(0) var<storage, read> step: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> logits: array<f32>;       // [rows, STRIDE]
@group(0) @binding(2) var<storage, read> bias: array<f32>;         // [EXPERTS], or anything
@group(0) @binding(3) var<storage, read_write> y: array<f32>;      // [rows, OUT_STRIDE]
@group(0) @binding(4) var<storage, read> factors: array<f32>;      // [EXPERTS], or anything

var<workgroup> scores: array<f32, EXPERTS>;
var<workgroup> biased: array<f32, EXPERTS>;
var<workgroup> places: array<u32, EXPERTS>;
var<workgroup> worths: array<f32, GROUPS>;

// What the largest of a group are together.
fn worth(group: u32) -> f32 {
    let size = EXPERTS / GROUPS;
    var best = LEAST;
    var second = LEAST;
    for (var e = group * size; e < (group + 1u) * size; e++) {
        second = max(second, min(best, biased[e]));
        best = max(best, biased[e]);
    }
    return select(best, best + second, GROUP_BEST > 1u && size > 1u);
}

fn groups_before(group: u32) -> u32 {
    var before = 0u;
    for (var g = 0u; g < GROUPS; g++) {
        before += u32(worths[g] > worths[group] || (worths[g] == worths[group] && g < group));
    }
    return before;
}

fn experts_before(expert: u32) -> u32 {
    var before = 0u;
    for (var e = 0u; e < EXPERTS; e++) {
        before += u32(biased[e] > biased[expert] || (biased[e] == biased[expert] && e < expert));
    }
    return before;
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group_id: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let r = min(flat(group_id), max(rows_of(step[0]), 1u) - 1u);
    for (var e = lane; e < EXPERTS; e += WORKGROUP) {
        scores[e] = LOGIT_FACTOR * logits[r * STRIDE + e];
    }
    workgroupBarrier();
    var largest = LEAST;
    if (SIGMOID == 0u) {
        for (var e = 0u; e < EXPERTS; e++) {
            largest = max(largest, scores[e]);
        }
    }
    workgroupBarrier();
    var part = 0.0;
    for (var e = lane; e < EXPERTS; e += WORKGROUP) {
        // Scores of large logits may be the same where the logits are not.
        biased[e] = scores[e];
        let score = select(exp(scores[e] - largest), 1.0 / (1.0 + exp(-scores[e])), SIGMOID == 1u);
        scores[e] = score;
        part += score;
    }
    let total = workgroup_sum_f32(part, lane);
    for (var e = lane; e < EXPERTS; e += WORKGROUP) {
        if (SIGMOID == 0u) {
            scores[e] /= total;
        }
        if (BIAS == 1u || GROUPS > 1u) {
            biased[e] = scores[e];
        }
        if (BIAS == 1u) {
            biased[e] += bias[e];
        }
    }
    workgroupBarrier();
    if (GROUPS > 1u) {
        for (var g = lane; g < GROUPS; g += WORKGROUP) {
            worths[g] = worth(g);
        }
        workgroupBarrier();
        for (var e = lane; e < EXPERTS; e += WORKGROUP) {
            if (groups_before(e / (EXPERTS / GROUPS)) >= GROUPS_USED) {
                biased[e] = LEAST;
            }
        }
        workgroupBarrier();
    }
    var chosen = 0.0;
    for (var e = lane; e < EXPERTS; e += WORKGROUP) {
        places[e] = experts_before(e);
        if (places[e] < USED) {
            chosen += scores[e];
        }
    }
    let sum = workgroup_sum_f32(chosen, lane);
    let factor = select(SCALE, SCALE / (sum + NORM_EPS), NORMALISE == 1u);
    for (var e = lane; e < EXPERTS; e += WORKGROUP) {
        let place = places[e];
        if (place < USED) {
            y[r * OUT_STRIDE + place] = f32(e);
            var weight = scores[e] * factor;
            if (FACTORS == 1u) {
                weight *= factors[e];
            }
            y[r * OUT_STRIDE + USED + place] = weight;
        }
    }
}
