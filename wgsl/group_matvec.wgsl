// y[r, g, n] = Σ over c of x[r, g, c] · w[g, n, c], for each stretch g of a row; behind it the REST of the stretch as it is.
//
// A workgroup computes TASKS numbers of one stretch of one row. Of a weight in parts each dispatch computes what belongs to the matrices
// that it binds.

import package::lib::grid::flat;
import package::lib::invocation::Invocation;
import package::lib::row::row_units;
import package::lib::rows::rows_of;
import package::lib::unit_product::unit_product;
import package::weight::Unit;

override COLS: u32 = 64u;
override STRIDE: u32 = 64u;       // from a row of x to the next
override STRETCH: u32 = 64u;      // numbers of a stretch of x
override N: u32 = 64u;            // rows of a matrix
override REST: u32 = 0u;          // numbers behind its products
override GROUPS: u32 = 1u;        // stretches of a row
override FIRST_GROUP: u32 = 0u;   // the first whose matrix is bound
override HELD: u32 = 1u;          // how many are bound
override OUT_STRIDE: u32 = 64u;
override SHARES: u32 = 8u;        // workgroups for a stretch of a row
override TASKS: u32 = 8u;
override WORKGROUP: u32 = 64u;

@group(0) @binding(0) var<storage, read> step: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;      // [rows, STRIDE]
@group(0) @binding(2) var<storage, read_write> y: array<f32>;      // [rows, OUT_STRIDE]

fn run(group_id: vec3<u32>, at: Invocation) {
    let group = flat(group_id);
    // Workgroups past the last row, which folding may bring, compute its last stretch once more.
    let nth = min(group / SHARES, max(rows_of(step[0]), 1u) * GROUPS - 1u);
    let r = nth / GROUPS;
    let g = nth % GROUPS;
    let here = g - FIRST_GROUP < HELD;
    let start = (r * STRIDE + g * STRETCH) / 4u;
    let first = group % SHARES * TASKS;
    let turns = (TASKS + subgroups_of(at) - 1u) / subgroups_of(at);
    for (var turn = 0u; turn < turns; turn++) {
        let task = turn * subgroups_of(at) + subgroup_of(at);
        let n = first + task;
        let valid = here && task < TASKS && n < N + REST;
        var sum = 0.0;
        if (valid && n < N) {
            for (var unit = lane_of(at); unit < row_units(); unit += lanes_of(at)) {
                sum += unit_product((g - FIRST_GROUP) * N + n, unit, start);
            }
        }
        sum = subgroup_sum(sum, at);
        if (valid && lane_of(at) == 0u) {
            if (n >= N) {
                let c = COLS + n - N;
                sum = x[start + c / 4u][c % 4u];
            }
            y[r * OUT_STRIDE + g * (N + REST) + n] = sum;
        }
    }
}
