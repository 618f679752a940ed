// y[h] = Σ over spans of weight · sum[span, h] / Σ over spans of weight · total[span, h], weight = exp(largest[span, h] − the largest)
//
// Puts together what attend_one.wgsl found of each span of positions. SLICES workgroups for a head, each with some of its numbers.

import package::lib::invocation::Invocation;
import package::twin::emit;

override HEADS: u32 = 1u;
override HEAD_DIM: u32 = 64u;
override FOURS: u32 = 16u;      // HEAD_DIM / 4
override SLICES: u32 = 1u;      // a divisor of FOURS
override SPAN: u32 = 256u;
override WINDOW: u32 = 0u;
override WORKGROUP: u32 = 256u;

override SLICE: u32 = FOURS / SLICES;
override LINES: u32 = WORKGROUP / SLICE;   // spans that are added up side by side

@group(0) @binding(0) var<storage, read> step: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> parts: array<vec4<f32>>;      // [spans, HEADS, FOURS + 1]
@group(0) @binding(2) var<storage, read_write> y: array<f32>;          // [HEADS, HEAD_DIM]

var<workgroup> sums: array<vec4<f32>, WORKGROUP>;

@compute @workgroup_size(WORKGROUP)
fn main(at: Invocation) {
    let lane = at.local;
    let h = at.group.x / SLICES;
    let first_four = at.group.x % SLICES * SLICE;
    let end = step[1].z + 1u;
    // Spans before the window have no positions, and no weight.
    let first = select(end - min(end, WINDOW), 0u, WINDOW == 0u) / SPAN;
    let spans = (end + SPAN - 1u) / SPAN;
    let line = FOURS + 1u;
    // Every team finds the largest score and the sum of all weights for itself.
    var largest = -3.0e38;
    for (var s = first + lane_of(at); s < spans; s += lanes_of(at)) {
        largest = max(largest, parts[(s * HEADS + h) * line + FOURS].x);
    }
    largest = team_max(largest, at);
    var total = 0.0;
    for (var s = first + lane_of(at); s < spans; s += lanes_of(at)) {
        let found = parts[(s * HEADS + h) * line + FOURS];
        total += exp(found.x - largest) * found.y;
    }
    total = team_sum(total, at);
    var sum = vec4<f32>();
    if (lane / SLICE < LINES) {
        for (var s = first + lane / SLICE; s < spans; s += LINES) {
            let place = (s * HEADS + h) * line;
            sum += exp(parts[place + FOURS].x - largest) * parts[place + first_four + lane % SLICE];
        }
    }
    sums[lane] = sum;
    workgroupBarrier();
    if (lane < SLICE) {
        for (var l = 1u; l < LINES; l++) {
            sum += sums[l * SLICE + lane];
        }
    }
    workgroupBarrier();
    if (lane < SLICE) {
        sums[lane] = sum / total;
    }
    workgroupBarrier();
    for (var i = 0u; i < 4u * SLICE; i += WORKGROUP) {
        let n = i + lane;
        let valid = n < 4u * SLICE;
        let place = h * HEAD_DIM + 4u * first_four + n;
        var value = 0.0;
        if (valid) {
            value = sums[n / 4u][n % 4u];
            y[place] = value;
        }
        emit(place, value, valid, lane);
        workgroupBarrier();
    }
}
