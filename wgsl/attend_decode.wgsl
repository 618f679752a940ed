// y[h] = Σ over p of softmax over p (SCALE · q[h] · k[p, g]) · v[p, g] for few rows, g = h / (HEADS / KV_HEADS), and the copy of y for what
// multiplies it next: of SPAN positions at most, a workgroup for each row and head.
//
// What counts is how soon it is done. An invocation multiplies a key; then neighbours add up neighbouring numbers of the values. The
// first of both are asked for before anything is known of the step, so that their way from memory is one and not three. Weights are
// relative to the largest score of their subgroup, which comes with them: nobody waits until the largest of all is known.

import package::keys::key_fetch;
import package::values::value_fetch;
import package::lib::invocation::Invocation;
import package::lib::kv_layout::page_of;
import package::lib::score_scale::score_scale;
import package::lib::seen::first_seen;
import package::copy::emit_copy;

override HEADS: u32 = 1u;
override KV_HEADS: u32 = 1u;
override HEAD_DIM: u32 = 64u;
override STRIDE: u32 = 64u;       // from a row of q, and of y, to the next
override FOURS: u32 = 16u;        // HEAD_DIM / 4
override SINKS: u32 = 0u;         // 1: each head has a score that no position has
override SPAN: u32 = 512u;
override WORKGROUP: u32 = 128u;

override EAGER: u32 = 1u;         // 1: asks for the first keys and values before it knows where they are: where one slot's pages lie in order

override LINES: u32 = WORKGROUP / FOURS;        // positions whose values are added up side by side
override TURN: u32 = 8u * LINES;                // positions whose values are asked for at once
override WEIGHTS: u32 = (SPAN + TURN - 1u) / TURN * TURN;
override TEAMS: u32 = (WORKGROUP + 3u) / 4u;    // no subgroup has fewer than four invocations

@group(0) @binding(0) var<storage, read> step: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> q: array<vec4<f32>>;            // [rows, HEADS, FOURS]
@group(0) @binding(2) var<storage, read_write> y: array<f32>;            // [rows, HEADS, HEAD_DIM]
@group(0) @binding(3) var<storage, read> sinks: array<f32>;              // [HEADS], or anything
@group(0) @binding(4) var<storage, read> keys: array<KeyElement>;        // see lib/kv_layout.wgsl
@group(0) @binding(5) var<storage, read> values: array<ValueElement>;

var<workgroup> weights: array<vec2<f32>, WEIGHTS>;   // and the largest score of the subgroup that found them
var<workgroup> subgroups: array<vec2<f32>, TEAMS>;       // largest score, sum of weights
var<workgroup> sums: array<vec4<f32>, WORKGROUP>;

const NONE: f32 = -3.0e38;        // less than any score

// Of the head whose query begins at `query`, for a row at `position`.
fn score_of(query: u32, key: KeyPlace, position: u32) -> f32 {
    var sum = 0.0;
    for (var c = 0u; c < FOURS; c++) {
        sum += dot(q[query + c], key_load(key_fetch(key, c)));
    }
    return score_scale(position) * sum;
}

fn run(group: vec3<u32>, at: Invocation) {
    let lane = at.local;
    let r = group.y;
    let h = group.x;
    let four = h / (HEADS / KV_HEADS) * FOURS;
    let row = step[1u + r];
    let slot = row.y;

    // FOURS neighbours are the numbers of a value; each such line of invocations takes every LINES-th position.
    let line = lane / FOURS;
    let positions = value_positions();
    var first_values: array<ValueFour, 8>;
    for (var k = 0u; k < 8u * EAGER; k++) {
        let p = min(k * LINES + line, positions - 1u);
        first_values[k] = value_fetch(value_place(p / PAGE, p, four), lane % FOURS);
    }
    let end = row.z + 1u;
    let first = first_seen(end);

    // Scores before the window are found and not used: it rarely begins behind the first position.
    var largest = NONE;
    if (EAGER == 1u) {
        let p = min(lane, positions - 1u);
        let score = score_of(r * (STRIDE / 4u) + h * FOURS, key_place(p / PAGE, p, four), row.z);
        largest = select(NONE, score, lane >= first && lane < end);
        weights[lane].x = score;
    }
    for (var p = lane + EAGER * WORKGROUP; p < end; p += WORKGROUP) {
        let score = score_of(r * (STRIDE / 4u) + h * FOURS, key_place(page_of(slot, p), p, four), row.z);
        largest = select(largest, max(largest, score), p >= first);
        weights[p].x = score;
    }
    largest = subgroup_max(largest, at);
    var total = 0.0;
    for (var p = lane; p < WEIGHTS; p += WORKGROUP) {
        var weight = 0.0;
        if (p >= first && p < end) {
            weight = exp(weights[p].x - largest);
        }
        weights[p] = vec2<f32>(weight, largest);
        total += weight;
    }
    total = subgroup_sum(total, at);
    if (lane_of(at) == 0u) {
        subgroups[subgroup_of(at)] = vec2<f32>(largest, total);
    }
    workgroupBarrier();
    for (var t = 0u; t < subgroups_of(at); t++) {
        largest = max(largest, subgroups[t].x);
    }
    total = 0.0;
    if (SINKS == 1u) {
        largest = max(largest, sinks[h]);
        total = exp(sinks[h] - largest);
    }
    for (var t = 0u; t < subgroups_of(at); t++) {
        total += exp(subgroups[t].x - largest) * subgroups[t].y;
    }

    // What is past the end weighs nothing, and may be anything; beyond the first turn the last value is read in its place. So many
    // values at once are on their way.
    var sum = vec4<f32>();
    if (line < LINES) {
        for (var k = 0u; k < 8u * EAGER; k++) {
            let p = k * LINES + line;
            let v = select(vec4<f32>(), value_load(first_values[k]), p < end);
            sum += weights[p].x * exp(weights[p].y - largest) * v;
        }
        for (var p0 = EAGER * TURN; p0 < end; p0 += TURN) {
            for (var k = 0u; k < 8u; k++) {
                let p = p0 + k * LINES + line;
                if (EAGER == 0u && p >= end) {
                    break;
                }
                let near = min(p, end - 1u);
                let v = value_load(value_fetch(value_place(page_of(slot, near), near, four), lane % FOURS));
                sum += weights[p].x * exp(weights[p].y - largest) * v;
            }
        }
    }
    sums[lane] = sum;
    workgroupBarrier();
    for (var i = 0u; i < HEAD_DIM; i += WORKGROUP) {
        let n = i + lane;
        let valid = n < HEAD_DIM;
        var value = 0.0;
        if (valid) {
            for (var l = 0u; l < LINES; l++) {
                value += sums[l * FOURS + n / 4u][n % 4u];
            }
            value /= total;
            y[r * STRIDE + h * HEAD_DIM + n] = value;
        }
        emit_copy(r, h * HEAD_DIM + n, value, valid, lane);
        workgroupBarrier();
    }
}
