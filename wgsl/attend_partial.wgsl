// Of each span of positions and each head of few rows: Σ over p of weight[p] · v[p, g], weight[p] = exp(SCALE · q[h] · k[p, g] − the
// largest such score), g = h / (HEADS / KV_HEADS); the largest score, and Σ of the weights. attend_combine.wgsl puts the spans together.
//
// A workgroup takes SHARE heads that read the same keys and values, and SPAN positions, TURN at a time. PARTS neighbouring invocations multiply a
// key; then lines of FOURS neighbours add up the numbers of the values. What counts is how much is on its way from memory at once: keys and values
// of the next turn are asked for as soon as those of this one are used, the first of both before anything is known of the step.

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
override PARTS: u32 = 1u;         // invocations of a key: a power of two, and no subgroup has fewer
override SPAN: u32 = 128u;        // a multiple of TURN
override TURN: u32 = 128u;        // WORKGROUP / PARTS positions at most, and AHEAD · LINES; a power of two
override LINES: u32 = 8u;         // positions whose values are added up side by side: a power of two, TURN and PAGE at most
override WORKGROUP: u32 = 128u;

override EAGER: u32 = 1u;         // 1: asks for the first keys and values before it knows where they are: where one slot's pages lie in order

const AHEAD: u32 = 16u;           // fours of a key, and of values, that an invocation asks for at once
const NONE: f32 = -3.0e38;        // less than any score

override PART_FOURS: u32 = (FOURS + PARTS - 1u) / PARTS;
override RUN: u32 = select(select(1u, 4u, PART_FOURS % 4u == 0u), 8u, PART_FOURS % 8u == 0u);   // fours of a key with one scale
override QUERY: u32 = SHARE * FOURS;
override PART_ROOM: u32 = PART_FOURS + select(0u, 1u, PARTS > 1u);   // so that parts of a query are in different banks of memory
override HEAD_ROOM: u32 = PARTS * PART_ROOM;
override QUERY_ROOM: u32 = SHARE * HEAD_ROOM;
override STRETCH: u32 = select(TURN, PAGE, TURN > PAGE);     // positions of a turn that are in one page
override OF_STRETCH: u32 = STRETCH / LINES;                  // those of a line
override OF_TURN: u32 = TURN / LINES;                        // AHEAD at most
override SCALES: u32 = TURN * VALUE_SCALES;                  // elements of a turn's values that are scales: WORKGROUP at most
override SCALE_ROOM: u32 = max(SCALES, 1u);
override SUMS: u32 = SHARE * WORKGROUP;
override TEAMS: u32 = (WORKGROUP + 3u) / 4u;                 // no subgroup has fewer than four invocations

@group(0) @binding(0) var<storage, read> step: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> q: array<vec4<f32>>;            // [rows, HEADS, FOURS]
// [spans, rows, HEADS, FOURS + 1], spans from the first one that the row sees: each head's sum and behind it (largest score, sum of weights, 0, 0)
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> keys: array<KeyElement>;        // see lib/kv_layout.wgsl
@group(0) @binding(5) var<storage, read> values: array<ValueElement>;

var<workgroup> query: array<vec4<f32>, QUERY_ROOM>;
var<workgroup> weights: array<vec4<f32>, TURN>;              // of the heads
var<workgroup> value_factors: array<vec2<f32>, SCALE_ROOM>;
var<workgroup> sums: array<vec4<f32>, SUMS>;
var<workgroup> subgroup_largest: array<vec4<f32>, TEAMS>;
var<workgroup> subgroup_total: array<vec4<f32>, TEAMS>;

// What this invocation has asked for.
var<private> key_fours: array<KeyNumbers, AHEAD>;
var<private> key_factors: array<f32, AHEAD>;
var<private> value_fours: array<ValueNumbers, AHEAD>;
var<private> asked_scale: ValueElement;
var<private> nothing: ValueNumbers;   // zeros, which naga has two words for in HLSL where they are written as a value

// The page of a position, or another where there is none for it.
fn page_at(position: u32, slot: u32, last: u32) -> u32 {
    if (EAGER == 1u) {
        return min(position / PAGE, value_positions() / PAGE - 1u);
    }
    return page_of(slot, min(position, last));
}

// Asks for a part of a key, from its c0-th four on.
fn ask_key(key: KeyPlace, c0: u32) {
    for (var c = 0u; c < AHEAD; c++) {
        if (c0 + c < PART_FOURS) {
            key_fours[c] = key_numbers(key, c0 + c);
            if (c % RUN == 0u) {
                key_factors[c / RUN] = key_scale(key, c0 + c);
            }
        }
    }
}

// Asks for a line's values of a turn. In a page those of a position follow those of the one before.
fn ask_values(begins: u32, four: u32, slot: u32, last: u32) {
    for (var n = 0u; n < TURN / STRETCH; n++) {
        let p = begins + n * STRETCH;
        let place = value_place(page_at(p, slot, last), p, 0u);
        for (var i = 0u; i < OF_STRETCH; i++) {
            value_fours[n * OF_STRETCH + i] = value_numbers(place, four + i * LINES * KV_FOURS);
        }
    }
}

// The score of a head and what four numbers of a key add to it.
fn along(sum: f32, of_head: vec4<f32>, key: vec4<f32>) -> f32 {
    return fma(of_head.x, key.x, fma(of_head.y, key.y, fma(of_head.z, key.z, fma(of_head.w, key.w, sum))));
}

// The same for the heads of a workgroup, written out: what is counted through at run time does not stay in registers.
fn with_products(sum: vec4<f32>, of_part: u32, key: vec4<f32>) -> vec4<f32> {
    var found = sum;
    found.x = along(found.x, query[of_part], key);
    if (SHARE > 1u) {
        found.y = along(found.y, query[HEAD_ROOM + of_part], key);
    }
    if (SHARE > 2u) {
        found.z = along(found.z, query[2u * HEAD_ROOM + of_part], key);
    }
    if (SHARE > 3u) {
        found.w = along(found.w, query[3u * HEAD_ROOM + of_part], key);
    }
    return found;
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
    // FOURS neighbours are the numbers of a value. What is left of the workgroup does as the last line does.
    let line = min(lane / FOURS, LINES - 1u);
    let of_value = four + lane % FOURS;
    let part = lane % PARTS;
    let rank = min(lane / PARTS, TURN - 1u);
    let key_four = four + min(part * PART_FOURS, FOURS - 1u);
    let last = max(row.z + 1u, 1u) - 1u;
    if (EAGER == 1u) {
        ask_key(key_place(page_at(start + rank, slot, last), start + rank, key_four), 0u);
        ask_values(start + line, of_value, slot, last);
    }
    // A row may have fewer spans than others: then this one is empty, and its one turn finds nothing.
    let end = min(row.z + 1u, start + SPAN);
    let first = max(start, seen_from);
    let turns = (max(end, start + 1u) - start + TURN - 1u) / TURN;
    for (var i = lane; i < QUERY; i += WORKGROUP) {
        let place = (i / FOURS * PARTS + i % FOURS / PART_FOURS) * PART_ROOM + i % FOURS % PART_FOURS;
        query[place] = q[r * (STRIDE / 4u) + first_head * FOURS + i] * score_scale(row.z);
    }
    workgroupBarrier();

    var largest = vec4<f32>(NONE);
    var total = vec4<f32>();
    var acc = vec4<f32>();
    var acc_1 = vec4<f32>();
    var acc_2 = vec4<f32>();
    var acc_3 = vec4<f32>();
    for (var turn = 0u; turn < turns; turn++) {
        let begins = start + turn * TURN;
        let p = begins + rank;
        let key = key_place(page_at(p, slot, last), p, key_four);
        if (EAGER == 0u && turn == 0u) {
            ask_key(key, 0u);
        }
        if (SCALES > 0u) {
            let n = min(lane, SCALES - 1u);
            let p = min(begins + n / max(VALUE_SCALES, 1u), last);
            let place = value_place(page_at(p, slot, last), p, four);
            asked_scale = values[value_scale_element(place, n % max(VALUE_SCALES, 1u))];
        }
        var found = vec4<f32>();
        for (var c0 = 0u; c0 < PART_FOURS; c0 += AHEAD) {
            if (c0 > 0u) {
                ask_key(key, c0);
            }
            for (var of_run = 0u; of_run < AHEAD; of_run += RUN) {
                var sum = vec4<f32>();
                for (var c = of_run; c < of_run + RUN; c++) {
                    if (c0 + c < PART_FOURS && part * PART_FOURS + c0 + c < FOURS) {
                        sum = with_products(sum, part * PART_ROOM + c0 + c, key_unscaled(key_fours[c]));
                    }
                }
                if (KEY_BLOCK > 4u && c0 + of_run < PART_FOURS) {
                    sum *= key_factors[of_run / RUN];
                }
                found += sum;
            }
        }
        if (turn + 1u < turns) {
            let next = p + TURN;
            ask_key(key_place(page_at(next, slot, last), next, key_four), 0u);
        }
        if (EAGER == 0u && turn == 0u) {
            ask_values(begins + line, of_value, slot, last);
        }
        for (var other = 1u; other < PARTS; other *= 2u) {
            found += from_lane(found, other, at);
        }
        let sees = p >= first && p < end;
        var found_largest = select(vec4<f32>(NONE), found, sees);
        if (SHARE == 1u) {
            found_largest.x = subgroup_max(found_largest.x, at);
        } else {
            found_largest = subgroup_max4(found_largest, at);
        }
        if (lane_of(at) == 0u) {
            subgroup_largest[subgroup_of(at)] = found_largest;
        }
        workgroupBarrier();
        var now = largest;
        for (var t = 0u; t < subgroups_of(at); t++) {
            now = max(now, subgroup_largest[t]);
        }
        let kept = exp(largest - now);
        largest = now;
        total *= kept;
        if (part == 0u && lane / PARTS < TURN) {
            let weight = select(vec4<f32>(), exp(found - now), sees);
            weights[rank] = weight;
            total += weight;
        }
        if (lane < SCALES) {
            value_factors[lane] = value_scales_of(asked_scale);
        }
        workgroupBarrier();

        // What is past the end weighs nothing, but may be no number.
        if (begins + TURN > end) {
            for (var k = 0u; k < OF_TURN; k++) {
                if (begins + k * LINES + line >= end) {
                    value_fours[k] = nothing;
                }
            }
        }
        acc *= kept.x;
        acc_1 *= kept.y;
        acc_2 *= kept.z;
        acc_3 *= kept.w;
        for (var k = 0u; k < OF_TURN; k++) {
            let p = k * LINES + line;
            let v = value_unscaled(value_fours[k]);
            var weight = weights[p];
            if (VALUE_SCALES > 0u) {
                weight *= value_factors[p * VALUE_SCALES + lane % FOURS / 16u][lane % FOURS / 8u % 2u];
            }
            acc += weight.x * v;
            if (SHARE > 1u) {
                acc_1 += weight.y * v;
            }
            if (SHARE > 2u) {
                acc_2 += weight.z * v;
            }
            if (SHARE > 3u) {
                acc_3 += weight.w * v;
            }
        }
        if (turn + 1u < turns) {
            ask_values(begins + TURN + line, of_value, slot, last);
        }
    }

    sums[lane] = acc;
    if (SHARE > 1u) {
        sums[WORKGROUP + lane] = acc_1;
    }
    if (SHARE > 2u) {
        sums[2u * WORKGROUP + lane] = acc_2;
    }
    if (SHARE > 3u) {
        sums[3u * WORKGROUP + lane] = acc_3;
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
    total = vec4<f32>();
    for (var t = 0u; t < subgroups_of(at); t++) {
        total += subgroup_total[t];
    }
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
