// y[r, n] = Σ over c of x[r, c] · w[n, c]  (+ b[n]), for few rows: each row of x passes over all weights.
//
// A team takes two rows of w at a time; its lanes walk along them unit by unit.

import package::lib::grid::flat;
import package::lib::invocation::Invocation;
import package::weight::Unit;

override COLS: u32 = 64u;
override STRIDE: u32 = 64u;
override N: u32 = 64u;            // rows of w that this dispatch multiplies
override FIRST_ROW: u32 = 0u;     // the first of them in what is bound
override FIRST_OUT: u32 = 0u;     // where its result goes in a row of y
override OUT_STRIDE: u32 = 64u;
override BIAS: u32 = 0u;
override GROUPS: u32 = 1u;        // workgroups for a row of x
override PASSES: u32 = 1u;        // pairs of rows that each team takes
override WORKGROUP: u32 = 128u;

@group(0) @binding(0) var<storage, read> step: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;       // [rows, STRIDE]
@group(0) @binding(2) var<storage, read> bias: array<f32>;          // [N], or anything
@group(0) @binding(3) var<storage, read_write> y: array<f32>;       // [rows, OUT_STRIDE]

@compute @workgroup_size(WORKGROUP)
fn main(at: Invocation) {
    let group = flat(at.group);
    let r = group / GROUPS;
    let units = (COLS + UNIT - 1u) / UNIT;
    let row = r * (STRIDE / 4u);
    for (var turn = 0u; turn < PASSES; turn++) {
        let pair = ((group % GROUPS) * PASSES + turn) * teams_of(at) + team_of(at);
        // Teams past the end repeat the last rows, so that all meet in the sum.
        let n = min(2u * pair, N - 1u);
        let m = min(2u * pair + 1u, N - 1u);
        let first = (FIRST_ROW + n) * units;
        let second = (FIRST_ROW + m) * units;
        var sum = vec2<f32>();
        for (var u = lane_of(at); u < units; u += lanes_of(at)) {
            let a = load_unit(first + u);
            let b = load_unit(second + u);
            for (var four = 0u; four < UNIT / 4u; four++) {
                let v = x[row + u * (UNIT / 4u) + four];
                sum += vec2<f32>(dot(unit_weights(a, four), v), dot(unit_weights(b, four), v));
            }
        }
        sum = team_sum(sum, at);
        if (lane_of(at) == 0u && 2u * pair < N) {
            let out = r * OUT_STRIDE + FIRST_OUT;
            if (BIAS != 0u) {
                sum += vec2<f32>(bias[FIRST_OUT + n], bias[FIRST_OUT + m]);
            }
            y[out + n] = sum.x;
            y[out + m] = sum.y;
        }
    }
}
