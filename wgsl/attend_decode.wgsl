// y[h] = Σ over p of softmax over p (SCALE · q[h] · k[p, g]) · v[p, g] for few rows, g = h / (HEADS / KV_HEADS), and the copy of y for what
// multiplies it next: of SPAN positions at most, a workgroup for each row and head. GATED, y[h] is multiplied by the sigmoid of a gate.
//
// What counts is how soon it is done. An invocation multiplies a key, or a PARTS-th of one; then neighbours add up neighbouring numbers of the values. The
// first of both are asked for before anything is known of the step, so that their way from memory is one and not three. Weights are
// relative to the largest score of their subgroup, which comes with them: nobody waits until the largest of all is known.

import package::keys::key_fetch;
import package::values::value_fetch;
import package::lib::invocation::Invocation;
import package::lib::kv_layout::page_of;
import package::lib::score_scale::score_scale;
import package::lib::seen::first_seen;
import package::queries::query_four;
import package::copy::emit_copy;

override HEADS: u32 = 1u;
override KV_HEADS: u32 = 1u;
override HEAD_DIM: u32 = 64u;
override STRIDE: u32 = 64u;       // from a row of q, and of y, to the next
override FOURS: u32 = 16u;        // HEAD_DIM / 4
override SINKS: u32 = 0u;         // 1: each head has a score that no position has
override GATED: u32 = 0u;
override PARTS: u32 = 1u;         // invocations of a key: a divisor of FOURS
override SPAN: u32 = 512u;
override WORKGROUP: u32 = 128u;

override EAGER: u32 = 1u;         // 1: asks for the first keys and values before it knows where they are: where one slot's pages lie in order

override PART_FOURS: u32 = FOURS / PARTS;
override SCORES: u32 = (PARTS - 1u) * SPAN + 1u;
override SLICES: u32 = 1u;                      // workgroups of a head, each of which adds up some of the numbers of values
override AT_ONCE: u32 = 8u;                     // values that an invocation asks for at once
override SLICE: u32 = FOURS / SLICES;
override LINES: u32 = WORKGROUP / SLICE;        // positions whose values are added up side by side
override JOINED: u32 = 1u;                      // lines whose sums a subgroup adds up: 1 or 2, which have no more invocations than a subgroup
override TURN: u32 = AT_ONCE * LINES;           // positions whose values are asked for at once
override WEIGHTS: u32 = (SPAN + TURN - 1u) / TURN * TURN;
override TEAMS: u32 = (WORKGROUP + 3u) / 4u;    // no subgroup has fewer than four invocations

@group(0) @binding(0) var<storage, read> step: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;            // [rows, HEADS, HEAD_DIM]

var<workgroup> weights: array<vec2<f32>, WEIGHTS>;   // and the largest score of the subgroup that found them
var<workgroup> scores: array<f32, SCORES>;           // what the second and further invocations of a key have found
var<workgroup> subgroups: array<vec2<f32>, TEAMS>;   // largest score, sum of weights
var<workgroup> sums: array<vec4<f32>, WORKGROUP>;

const NONE: f32 = -3.0e38;        // less than any score

const AHEAD: u32 = 16u;           // fours of a key that are asked for before queries are made

// What a part of a key contributes to the score of head h, from its fours behind the first `done` ones; those have `sum`.
fn score_of(r: u32, h: u32, part: u32, key: KeyPlace, done: u32, sum_of_done: f32, position: u32) -> f32 {
    var sum = sum_of_done;
    for (var c = done; c < PART_FOURS; c++) {
        sum += dot(query_four(r, h, part * PART_FOURS + c), key_load(key_fetch(key, c)));
    }
    return score_scale(position) * query_scale() * sum;
}

fn keep(score: f32, part: u32, p: u32) {
    if (part == 0u) {
        weights[p].x = score;
    } else {
        scores[(part - 1u) * SPAN + p] = score;
    }
}

// An invocation's number in the workgroup, so that neighbours are of a subgroup where these have one size.
fn place_of(at: Invocation) -> u32 {
    return select(subgroup_of(at) * lanes_of(at) + lane_of(at), at.local, SUBGROUP_SIZE == 0u);
}

fn run(group: vec3<u32>, at: Invocation) {
    let lane = at.local;
    let r = group.y;
    let h = group.x / SLICES;
    let first_four = group.x % SLICES * SLICE;
    let four = h / (HEADS / KV_HEADS) * FOURS;
    let row = step[1u + r];
    let slot = row.y;
    let own_part = ask_head(h, at);

    // SLICE neighbours are a workgroup's numbers of a value; each such line of invocations takes every LINES-th position.
    let place = place_of(at);
    let line = place / SLICE;
    let own_four = first_four + place % SLICE;
    let positions = value_positions();
    var first_values: array<ValueFour, 8>;
    for (var k = 0u; k < AT_ONCE * EAGER; k++) {
        let p = min(k * LINES + line, positions - 1u);
        first_values[k] = value_fetch(value_place(p / PAGE, p, four), own_four);
    }
    // Neighbours have neighbouring positions, and the same part of their keys.
    let ranks = WORKGROUP / PARTS;
    let part = min(lane / ranks, PARTS - 1u);
    let rank = lane % ranks;
    let first_position = min(rank, positions - 1u);
    let first_key = key_place(first_position / PAGE, first_position, four + part * PART_FOURS);
    var first_keys: array<KeyFour, AHEAD>;
    for (var c = 0u; c < AHEAD * EAGER * OWN; c++) {
        if (c < PART_FOURS) {
            first_keys[c] = key_fetch(first_key, c);
        }
    }
    begin_head(h, first_four == 0u, row, own_part, at);
    let end = row.z + 1u - OWN;
    let first = first_seen(row.z + 1u);

    // Scores before the window are found and not used: it rarely begins behind the first position.
    var largest = NONE;
    if (EAGER == 1u) {
        var sum = 0.0;
        for (var c = 0u; c < AHEAD * OWN; c++) {
            if (c < PART_FOURS) {
                sum += dot(query_four(r, h, part * PART_FOURS + c), key_load(first_keys[c]));
            }
        }
        let score = score_of(r, h, part, first_key, AHEAD * OWN, sum, row.z);
        largest = select(NONE, score, rank >= first && rank < end);
        keep(score, part, rank);
    }
    for (var p = rank + EAGER * ranks; p < end; p += ranks) {
        let key = key_place(page_of(slot, p), p, four + part * PART_FOURS);
        let score = score_of(r, h, part, key, 0u, 0.0, row.z);
        largest = select(largest, max(largest, score), p >= first);
        keep(score, part, p);
    }
    if (PARTS > 1u) {
        workgroupBarrier();
        largest = NONE;
        for (var p = lane; p < end; p += WORKGROUP) {
            var score = weights[p].x;
            for (var i = 0u; i < PARTS - 1u; i++) {
                score += scores[i * SPAN + p];
            }
            largest = select(largest, max(largest, score), p >= first);
            weights[p].x = score;
        }
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
    var own_score = NONE;
    if (OWN == 1u) {
        own_score = score_scale(row.z) * own_product(at);
        largest = max(largest, own_score);
    }
    if (SINKS == 1u) {
        largest = max(largest, sink_of(h));
        total = exp(sink_of(h) - largest);
    }
    var own_weight = 0.0;
    if (OWN == 1u) {
        own_weight = exp(own_score - largest);
        total += own_weight;
    }
    for (var t = 0u; t < subgroups_of(at); t++) {
        total += exp(subgroups[t].x - largest) * subgroups[t].y;
    }

    // What is past the end weighs nothing, and may be anything; beyond the first turn the last value is read in its place. So many
    // values at once are on their way.
    var sum = vec4<f32>();
    if (line < LINES) {
        for (var k = 0u; k < AT_ONCE * EAGER; k++) {
            let p = k * LINES + line;
            let v = select(vec4<f32>(), value_load(first_values[k]), p < end);
            sum += weights[p].x * exp(weights[p].y - largest) * v;
        }
        for (var p0 = EAGER * TURN; p0 < end; p0 += TURN) {
            for (var k = 0u; k < AT_ONCE; k++) {
                let p = p0 + k * LINES + line;
                if (EAGER == 0u && p >= end) {
                    break;
                }
                let near = min(p, end - 1u);
                let v = value_load(value_fetch(value_place(page_of(slot, near), near, four), own_four));
                sum += weights[p].x * exp(weights[p].y - largest) * v;
            }
        }
    }
    // Two lines of a subgroup have one sum where there are many of them.
    if (JOINED == 2u) {
        sum += from_lane(sum, SLICE, at);
    }
    if (line % JOINED == 0u) {
        sums[line / JOINED * SLICE + place % SLICE] = sum;
    }
    workgroupBarrier();
    for (var i = 0u; i < 4u * SLICE; i += WORKGROUP) {
        let own = i + lane;
        let n = 4u * first_four + own;
        let valid = own < 4u * SLICE;
        var value = 0.0;
        if (valid) {
            for (var l = 0u; l < LINES / JOINED; l++) {
                value += sums[l * SLICE + own / 4u][n % 4u];
            }
            if (OWN == 1u) {
                value += own_weight * own_number(n);
            }
            value /= total;
            if (GATED == 1u) {
                value /= 1.0 + exp(-gate_of(r, h, n));
            }
            y[r * STRIDE + h * HEAD_DIM + n] = value;
        }
        emit_copy(r, h * HEAD_DIM + n, value, valid, lane);
        workgroupBarrier();
    }
}
