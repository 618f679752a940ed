// y[h] = Σ over spans of weight · sum[span, h] / Σ over spans of weight · total[span, h], weight = exp(largest[span, h] − the largest);
// GATED, y[h] is multiplied by the sigmoid of a gate.
//
// Puts together what attend_partial.wgsl found of each span of positions. SLICES workgroups for a head, each with some of its numbers. What is
// there of the first spans is asked for before anything is known of the step, so that its way from memory is one and not three.

import package::lib::invocation::Invocation;
import package::lib::seen::first_seen;
import package::copy::emit_copy;

override HEADS: u32 = 1u;
override HEAD_DIM: u32 = 64u;
override STRIDE: u32 = 64u;     // from a row of y to the next
override FOURS: u32 = 16u;      // HEAD_DIM / 4
override SLICES: u32 = 1u;      // a divisor of FOURS
override SPAN: u32 = 256u;
override SINKS: u32 = 0u;       // 1: each head has a score that no position has
override GATED: u32 = 0u;
override SINGLE: u32 = 0u;      // 1: there is one row
override WORKGROUP: u32 = 256u;
override EAGER: u32 = 1u;       // 1: asks for the first spans whether or not there are as many

override SLICE: u32 = FOURS / SLICES;
override LINES: u32 = WORKGROUP / SLICE;   // spans that are added up side by side

@group(0) @binding(0) var<storage, read> step: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> parts: array<vec4<f32>>;      // [spans, rows, HEADS, FOURS + 1]
@group(0) @binding(2) var<storage, read_write> y: array<f32>;          // [rows, HEADS, HEAD_DIM]
@group(0) @binding(3) var<storage, read> sinks: array<f32>;            // [HEADS], or anything
@group(0) @binding(9) var<storage, read> gates: array<f32>;            // [rows, HEADS, HEAD_DIM], or anything

var<workgroup> sums: array<vec4<f32>, WORKGROUP>;

const NONE: f32 = -3.0e38;      // less than any score
const AHEAD: u32 = 4u;          // spans of a line, and of a lane of a subgroup, that are asked for at once

// Where a row's head h of span s begins, of `heads` of all rows; of the last one that there is room for, if s lies behind it.
fn place_of(h: u32, s: u32, heads: u32) -> u32 {
    let room = arrayLength(&parts) / (heads * (FOURS + 1u));
    return (min(s, room - 1u) * heads + h) * (FOURS + 1u);
}

fn run(group: vec3<u32>, at: Invocation) {
    let lane = at.local;
    let r = group.y;
    let h = group.x / SLICES;
    // Of one row all is known before the step is read.
    let heads = select(step[0].x, 1u, SINGLE == 1u) * HEADS;
    let row_head = r * HEADS + h;
    let first_four = group.x % SLICES * SLICE;
    let line = lane / SLICE;
    var ends: array<vec2<f32>, AHEAD>;        // of spans for each lane of a subgroup
    var line_ends: array<f32, AHEAD>;         // of spans for each line, with the sums that belong to them
    var line_sums: array<vec4<f32>, AHEAD>;
    for (var k = 0u; k < AHEAD * EAGER; k++) {
        ends[k] = parts[place_of(row_head, k * lanes_of(at) + lane_of(at), heads) + FOURS].xy;
        let place = place_of(row_head, k * LINES + line, heads);
        line_ends[k] = parts[place + FOURS].x;
        line_sums[k] = parts[place + first_four + lane % SLICE];
    }
    let end = step[1u + r].z + 1u;
    // Spans are counted from the first one that the row sees.
    let spans = (end + SPAN - 1u) / SPAN - first_seen(end) / SPAN;

    // Every subgroup finds the largest score and the sum of all weights for itself.
    let subgroup_ahead = AHEAD * EAGER * lanes_of(at);
    var largest = NONE;
    for (var k = 0u; k < AHEAD * EAGER; k++) {
        let s = k * lanes_of(at) + lane_of(at);
        largest = select(largest, max(largest, ends[k].x), s < spans);
    }
    for (var s = subgroup_ahead + lane_of(at); s < spans; s += lanes_of(at)) {
        largest = max(largest, parts[place_of(row_head, s, heads) + FOURS].x);
    }
    largest = subgroup_max(largest, at);
    if (SINKS == 1u) {
        largest = max(largest, sinks[h]);
    }
    var total = 0.0;
    for (var k = 0u; k < AHEAD * EAGER; k++) {
        let s = k * lanes_of(at) + lane_of(at);
        total += select(0.0, exp(ends[k].x - largest) * ends[k].y, s < spans);
    }
    for (var s = subgroup_ahead + lane_of(at); s < spans; s += lanes_of(at)) {
        let found = parts[place_of(row_head, s, heads) + FOURS];
        total += exp(found.x - largest) * found.y;
    }
    total = subgroup_sum(total, at);
    if (SINKS == 1u) {
        total += exp(sinks[h] - largest);
    }

    var sum = vec4<f32>();
    if (line < LINES) {
        for (var k = 0u; k < AHEAD * EAGER; k++) {
            let s = k * LINES + line;
            sum += select(vec4<f32>(), exp(line_ends[k] - largest) * line_sums[k], s < spans);
        }
        for (var s = AHEAD * EAGER * LINES + line; s < spans; s += LINES) {
            let place = place_of(row_head, s, heads);
            sum += exp(parts[place + FOURS].x - largest) * parts[place + first_four + lane % SLICE];
        }
    }
    sums[lane] = sum;
    workgroupBarrier();
    for (var i = 0u; i < 4u * SLICE; i += WORKGROUP) {
        let n = i + lane;
        let valid = n < 4u * SLICE;
        let i_of_row = h * HEAD_DIM + 4u * first_four + n;
        var value = 0.0;
        if (valid) {
            for (var l = 0u; l < LINES; l++) {
                value += sums[l * SLICE + n / 4u][n % 4u];
            }
            value /= total;
            if (GATED == 1u) {
                value /= 1.0 + exp(-gates[r * STRIDE + i_of_row]);
            }
            y[r * STRIDE + i_of_row] = value;
        }
        emit_copy(r, i_of_row, value, valid, lane);
        workgroupBarrier();
    }
}
