// Of each span of positions and each head of few rows: Σ over p of weight[p] · v[p, g], weight[p] = exp(SCALE · q[h] · k[p, g] − the
// largest such score), g = h / (HEADS / KV_HEADS); the largest score, and Σ of the weights. attend_combine.wgsl puts the spans together.
//
// A workgroup takes SHARE heads that read the same keys and values, and SPAN positions. First an invocation multiplies a key, or a
// PARTS-th of one; then neighbours add up neighbouring numbers of the values. The first of both are asked for before anything is
// known of the step, so that their way from memory is one and not three.

import package::keys::key_fetch;
import package::values::value_fetch;
import package::lib::invocation::Invocation;
import package::lib::kv_layout::page_of;
import package::lib::score_scale::score_scale;
import package::lib::seen::first_seen;

override HEADS: u32 = 1u;
override KV_HEADS: u32 = 1u;
override STRIDE: u32 = 64u;       // from a row of q to the next
override FOURS: u32 = 16u;        // numbers of a head, in fours
override SHARE: u32 = 1u;         // 4 at most
override PARTS: u32 = 1u;         // invocations of a key: a divisor of FOURS
override SPAN: u32 = 128u;
override WORKGROUP: u32 = 128u;

override EAGER: u32 = 1u;         // 1: asks for the first keys and values before it knows where they are: where one slot's pages lie in order

override PART_FOURS: u32 = FOURS / PARTS;
override QUERY: u32 = SHARE * FOURS;
override SCORES: u32 = SHARE * PARTS * SPAN;
override LINES: u32 = WORKGROUP / FOURS;        // positions whose values are added up side by side
override TURN: u32 = 8u * LINES;                // positions whose values are asked for at once
override WEIGHTS: u32 = (SPAN + TURN - 1u) / TURN * TURN;
override SUMS: u32 = SHARE * WORKGROUP;
override TEAMS: u32 = (WORKGROUP + 3u) / 4u;    // no subgroup has fewer than four invocations

@group(0) @binding(0) var<storage, read> step: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> q: array<vec4<f32>>;            // [rows, HEADS, FOURS]
// [spans, rows, HEADS, FOURS + 1], spans from the first one that the row sees: each head's sum and behind it (largest score, sum of weights, 0, 0)
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> keys: array<KeyElement>;        // see lib/kv_layout.wgsl
@group(0) @binding(5) var<storage, read> values: array<ValueElement>;

var<workgroup> query: array<vec4<f32>, QUERY>;
var<workgroup> scores: array<f32, SCORES>;
var<workgroup> weights: array<vec4<f32>, WEIGHTS>;   // of the heads
var<workgroup> sums: array<vec4<f32>, SUMS>;
var<workgroup> subgroup_largest: array<vec4<f32>, TEAMS>;
var<workgroup> subgroup_total: array<vec4<f32>, TEAMS>;

// What four numbers of a key contribute to the scores of the heads.
fn products(c: u32, stored: KeyFour) -> vec4<f32> {
    let key = key_load(stored);
    var found = vec4<f32>();
    for (var h = 0u; h < SHARE; h++) {
        found[h] = dot(query[h * FOURS + c], key);
    }
    return found;
}

fn keep(found: vec4<f32>, part: u32, p: u32) {
    if (p < SPAN) {
        for (var h = 0u; h < SHARE; h++) {
            scores[(h * PARTS + part) * SPAN + p] = found[h];
        }
    }
}

fn run(group: vec3<u32>, at: Invocation) {
    let lane = at.local;
    let first_head = group.x * SHARE;
    let four = first_head / (HEADS / KV_HEADS) * FOURS;
    let r = group.y;
    let row = step[1u + r];
    let slot = row.y;
    // Spans before the window are left out: there are none where nothing is known of the step yet.
    let seen_from = first_seen(row.z + 1u);
    let start = (seen_from / SPAN + group.z) * SPAN;

    // FOURS neighbours are the numbers of a value; each such line of invocations takes every LINES-th position.
    let line = lane / FOURS;
    let positions = value_positions();
    var first_values: array<ValueFour, 8>;
    for (var k = 0u; k < 8u * EAGER; k++) {
        let p = min(start + k * LINES + line, positions - 1u);
        first_values[k] = value_fetch(value_place(p / PAGE, p, four), lane % FOURS);
    }
    // Neighbours have neighbouring positions, and the same part of their keys. Compilers should not find out that there is one part:
    // with constant places of the query they keep more of it in registers, and all takes 3 % longer (benches/README.md).
    let ranks = WORKGROUP / PARTS;
    let part = min(lane / ranks, PARTS - 1u);
    let rank = lane % ranks;
    let first_position = min(start + rank, positions - 1u);
    let first_key = key_place(first_position / PAGE, first_position, four + part * PART_FOURS);
    var first_keys: array<KeyFour, 8>;
    for (var c = 0u; c < 8u * EAGER; c++) {
        if (c < PART_FOURS) {
            first_keys[c] = key_fetch(first_key, c);
        }
    }
    // A row may have fewer spans than others: then this one is empty.
    let end = min(row.z + 1u, start + SPAN);
    let first = max(start, seen_from);

    for (var i = lane; i < QUERY; i += WORKGROUP) {
        query[i] = q[r * (STRIDE / 4u) + first_head * FOURS + i] * score_scale(row.z);
    }
    workgroupBarrier();

    var found = vec4<f32>();
    if (EAGER == 1u) {
        for (var c = 0u; c < 8u; c++) {
            if (c < PART_FOURS) {
                found += products(part * PART_FOURS + c, first_keys[c]);
            }
        }
        for (var c = 8u; c < PART_FOURS; c++) {
            found += products(part * PART_FOURS + c, key_fetch(first_key, c));
        }
        keep(found, part, rank);
    }
    for (var p = rank + EAGER * ranks; start + p < end && p < SPAN; p += ranks) {
        // Scores before the window are found and not used: spans are rarely cut by it.
        let key = key_place(page_of(slot, start + p), start + p, four + part * PART_FOURS);
        found = vec4<f32>();
        for (var c = 0u; c < PART_FOURS; c++) {
            found += products(part * PART_FOURS + c, key_fetch(key, c));
        }
        keep(found, part, p);
    }
    workgroupBarrier();

    var largest = vec4<f32>(-3.0e38);
    for (var p = lane; p < SPAN; p += WORKGROUP) {
        var score = vec4<f32>(-3.0e38);
        if (start + p >= first && start + p < end) {
            for (var h = 0u; h < SHARE; h++) {
                var sum = 0.0;
                for (var i = 0u; i < PARTS; i++) {
                    sum += scores[(h * PARTS + i) * SPAN + p];
                }
                score[h] = sum;
            }
        }
        weights[p] = score;
        largest = max(largest, score);
    }
    if (SHARE == 1u) {
        largest.x = subgroup_max(largest.x, at);
    } else {
        largest = subgroup_max4(largest, at);
    }
    if (lane_of(at) == 0u) {
        subgroup_largest[subgroup_of(at)] = largest;
    }
    workgroupBarrier();
    for (var t = 0u; t < subgroups_of(at); t++) {
        largest = max(largest, subgroup_largest[t]);
    }
    var total = vec4<f32>();
    for (var p = lane; p < WEIGHTS; p += WORKGROUP) {
        var weight = vec4<f32>();
        if (start + p >= first && start + p < end) {
            weight = exp(weights[p] - largest);
        }
        weights[p] = weight;
        total += weight;
    }
    if (SHARE == 1u) {
        total.x = subgroup_sum(total.x, at);
    } else {
        total = subgroup_sum4(total, at);
    }
    if (lane_of(at) == 0u) {
        subgroup_total[subgroup_of(at)] = total;
    }
    workgroupBarrier();

    // What is past the end weighs nothing, and may be anything; beyond the first turn the last value is read in its place. So many
    // values at once are on their way.
    var acc: array<vec4<f32>, 4>;
    if (line < LINES) {
        for (var k = 0u; k < 8u * EAGER; k++) {
            let p = k * LINES + line;
            let v = select(vec4<f32>(), value_load(first_values[k]), start + p < end);
            let weight = weights[p];
            for (var h = 0u; h < SHARE; h++) {
                acc[h] += weight[h] * v;
            }
        }
        for (var p0 = EAGER * TURN; start + p0 < end; p0 += TURN) {
            for (var k = 0u; k < 8u; k++) {
                let p = p0 + k * LINES + line;
                if (EAGER == 0u && start + p >= end) {
                    break;
                }
                let near = min(start + p, end - 1u);
                let v = value_load(value_fetch(value_place(page_of(slot, near), near, four), lane % FOURS));
                let weight = weights[p];
                for (var h = 0u; h < SHARE; h++) {
                    acc[h] += weight[h] * v;
                }
            }
        }
    }
    for (var h = 0u; h < SHARE; h++) {
        sums[h * WORKGROUP + lane] = acc[h];
    }
    total = vec4<f32>();
    for (var t = 0u; t < subgroups_of(at); t++) {
        total += subgroup_total[t];
    }
    workgroupBarrier();
    for (var i = lane; i < QUERY; i += WORKGROUP) {
        let h = i / FOURS;
        var sum = vec4<f32>();
        for (var l = 0u; l < LINES; l++) {
            sum += sums[h * WORKGROUP + l * FOURS + i % FOURS];
        }
        let place = ((group.z * step[0].x + r) * HEADS + first_head + h) * (FOURS + 1u);
        y[place + i % FOURS] = sum;
        if (i % FOURS == 0u) {
            y[place + FOURS] = vec4<f32>(largest[h], total[h], 0.0, 0.0);
        }
    }
}
