// Of each span of positions and each head of few rows: Σ over p of weight[p] · v[p, g], weight[p] = exp(SCALE · q[h] · k[p, g] − the
// largest such score), g = h / (HEADS / KV_HEADS); the largest score, and Σ of the weights. attend_combine.wgsl puts the spans together.
//
// A workgroup takes SHARE heads that read the same keys and values, and SPAN positions. First an invocation multiplies a key, or a
// PARTS-th of one; then neighbours add up neighbouring numbers of the values. What counts is how much is on its way from memory at once: AHEAD fours of
// a key, or of values, are asked for together, the first of them before anything is known of the step. Scales are fetched once for a block.

import package::keys::key_numbers;
import package::values::value_numbers;
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
override AHEAD: u32 = 8u;         // 16 at most
override EARLY: u32 = 1u;         // 1: asks for the first values with the first keys, and not behind them: where registers hold both
override WORKGROUP: u32 = 128u;

override EAGER: u32 = 1u;         // 1: asks for the first keys and values before it knows where they are: where one slot's pages lie in order

override PART_FOURS: u32 = FOURS / PARTS;
override QUERY: u32 = SHARE * FOURS;
override SCORES: u32 = SHARE * PARTS * SPAN;
override LINES: u32 = WORKGROUP / FOURS;        // positions whose values are added up side by side
override TURN: u32 = AHEAD * LINES;             // positions whose values are asked for at once
override RUN: u32 = select(1u, 8u, PART_FOURS % 8u == 0u);   // fours of a key with one scale
override SCALES: u32 = SPAN * VALUE_SCALES;     // elements of the span's values that are scales
override SCALE_ROOM: u32 = max(SCALES, 1u);
override SCALE_TURNS: u32 = (SCALES + WORKGROUP - 1u) / WORKGROUP;   // 8 at most
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
var<workgroup> value_factors: array<vec2<f32>, SCALE_ROOM>;
var<workgroup> sums: array<vec4<f32>, SUMS>;
var<workgroup> subgroup_largest: array<vec4<f32>, TEAMS>;
var<workgroup> subgroup_total: array<vec4<f32>, TEAMS>;

// What four numbers of a key contribute to the scores of the heads.
fn products(c: u32, stored: KeyNumbers) -> vec4<f32> {
    let key = key_unscaled(stored);
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

// The page of a position, or another where there is none for it.
fn page_at(position: u32, slot: u32, end: u32) -> u32 {
    if (EAGER == 1u) {
        return min(position / PAGE, value_positions() / PAGE - 1u);
    }
    return page_of(slot, min(position, max(end, 1u) - 1u));
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

    // A row may have fewer spans than others: then this one is empty.
    let end = min(row.z + 1u, start + SPAN);
    let first = max(start, seen_from);

    // FOURS neighbours are the numbers of a value; each such line of invocations takes every LINES-th position.
    let line = lane / FOURS;
    var value_fours: array<ValueNumbers, 16>;
    var scales: array<ValueElement, 8>;
    if (EARLY == 1u) {
        for (var k = 0u; k < AHEAD; k++) {
            let p = start + k * LINES + line;
            value_fours[k] = value_numbers(value_place(page_at(p, slot, end), p, four), lane % FOURS);
        }
    }
    // Neighbours have neighbouring positions, and the same part of their keys. Compilers should not find out that there is one part:
    // with constant places of the query they keep more of it in registers, and all takes 3 % longer (benches/README.md).
    let ranks = WORKGROUP / PARTS;
    let part = min(lane / ranks, PARTS - 1u);
    let rank = lane % ranks;
    var key = key_place(page_at(start + rank, slot, end), start + rank, four + part * PART_FOURS);
    var key_fours: array<KeyNumbers, 16>;
    var key_factors: array<f32, 16>;
    for (var c = 0u; c < AHEAD; c++) {
        if (c < PART_FOURS) {
            key_fours[c] = key_numbers(key, c);
            if (c % RUN == 0u) {
                key_factors[c / RUN] = key_scale(key, c);
            }
        }
    }
    for (var i = lane; i < QUERY; i += WORKGROUP) {
        query[i] = q[r * (STRIDE / 4u) + first_head * FOURS + i] * score_scale(row.z);
    }
    workgroupBarrier();

    // Scores before the window are found and not used: spans are rarely cut by it. Counts of loops are known when the pipeline is made: what is asked for
    // stays in registers.
    for (var p0 = 0u; p0 < SPAN; p0 += ranks) {
        if (p0 > 0u) {
            if (start + p0 >= end) {
                break;
            }
            key = key_place(page_at(start + p0 + rank, slot, end), start + p0 + rank, four + part * PART_FOURS);
        }
        var found = vec4<f32>();
        for (var c0 = 0u; c0 < PART_FOURS; c0 += AHEAD) {
            for (var c = 0u; c < AHEAD; c++) {
                if (p0 + c0 > 0u && c0 + c < PART_FOURS) {
                    key_fours[c] = key_numbers(key, c0 + c);
                    if (c % RUN == 0u) {
                        key_factors[c / RUN] = key_scale(key, c0 + c);
                    }
                }
            }
            for (var of_run = 0u; of_run < AHEAD; of_run += RUN) {
                var sum = vec4<f32>();
                for (var c = of_run; c < of_run + RUN; c++) {
                    if (c0 + c < PART_FOURS) {
                        sum += products(part * PART_FOURS + c0 + c, key_fours[c]);
                    }
                }
                if (KEY_BLOCK > 4u && c0 + of_run < PART_FOURS) {
                    sum *= key_factors[of_run / RUN];
                }
                found += sum;
            }
        }
        keep(found, part, p0 + rank);
    }
    if (EARLY == 0u) {
        for (var k = 0u; k < AHEAD; k++) {
            let p = start + k * LINES + line;
            value_fours[k] = value_numbers(value_place(page_at(p, slot, end), p, four), lane % FOURS);
        }
    }
    for (var k = 0u; k < SCALE_TURNS; k++) {
        let n = min(k * WORKGROUP + lane, SCALES - 1u);
        let p = start + n / max(VALUE_SCALES, 1u);
        let place = value_place(page_at(p, slot, end), p, four);
        scales[k] = values[value_scale_element(place, n % max(VALUE_SCALES, 1u))];
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
    for (var k = 0u; k < SCALE_TURNS; k++) {
        if (k * WORKGROUP + lane < SCALES) {
            value_factors[k * WORKGROUP + lane] = value_scales_of(scales[k]);
        }
    }
    workgroupBarrier();

    // What is past the end weighs nothing, and may be anything.
    var acc: array<vec4<f32>, 4>;
    if (line < LINES) {
        for (var p0 = 0u; p0 < SPAN; p0 += TURN) {
            if (p0 > 0u) {
                if (start + p0 >= end) {
                    break;
                }
                for (var k = 0u; k < AHEAD; k++) {
                    let p = start + p0 + k * LINES + line;
                    value_fours[k] = value_numbers(value_place(page_at(p, slot, end), p, four), lane % FOURS);
                }
            }
            for (var k = 0u; k < AHEAD; k++) {
                let p = p0 + k * LINES + line;
                let v = select(vec4<f32>(), value_unscaled(value_fours[k]), start + p < end);
                var weight = weights[p];
                if (VALUE_SCALES > 0u) {
                    weight *= value_factors[min(p, SPAN - 1u) * VALUE_SCALES + lane % FOURS / 16u][lane % FOURS / 8u % 2u];
                }
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
