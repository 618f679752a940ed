// y[r, k, n] = Σ over c of x[r, c] · w[e, n, c]  (· weight[r, k])  (+ b[e, n]), e the k-th expert of row r's route; or of x[r, k, c].
//
// A workgroup computes TASKS rows of one expert for one row of x: no weights are read but those of the experts that are chosen. Of a
// weight in parts each dispatch computes what belongs to the experts that it binds.

import package::lib::grid::flat;
import package::lib::invocation::Invocation;
import package::lib::row::row_units;
import package::lib::rows::rows_of;
import package::lib::unit_product::unit_product;
import package::weight::Unit;

override COLS: u32 = 64u;
override STRIDE: u32 = 64u;
override EACH: u32 = 0u;          // 1: each expert of a row has numbers of its own in x
override N: u32 = 64u;            // rows of an expert
override FIRST_ROW: u32 = 0u;     // the first row in what is bound
override USED: u32 = 2u;
override FIRST_EXPERT: u32 = 0u;  // the first that is bound
override EXPERTS: u32 = 8u;       // how many are bound
override ROUTE_STRIDE: u32 = 8u;
override OUT_STRIDE: u32 = 128u;
override BIAS: u32 = 0u;
override WEIGHTED: u32 = 0u;      // 1: products are multiplied by the route's weights
override GROUPS: u32 = 8u;        // workgroups for an expert of a row of x
override TASKS: u32 = 8u;
override WORKGROUP: u32 = 64u;

@group(0) @binding(0) var<storage, read> step: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;      // [rows, STRIDE]
@group(0) @binding(2) var<storage, read> route: array<f32>;        // [rows, ROUTE_STRIDE]
@group(0) @binding(3) var<storage, read> bias: array<f32>;         // [all experts, N], or anything
@group(0) @binding(4) var<storage, read_write> y: array<f32>;      // [rows, OUT_STRIDE]

fn run(group_id: vec3<u32>, at: Invocation) {
    let group = flat(group_id);
    // Workgroups past the last row, which folding may bring, compute its last expert once more.
    let nth = min(group / GROUPS, max(rows_of(step[0]), 1u) * USED - 1u);
    let r = nth / USED;
    let k = nth % USED;
    let expert = u32(route[r * ROUTE_STRIDE + k]);
    let here = expert - FIRST_EXPERT < EXPERTS;
    let start = (r * STRIDE + select(0u, k * COLS, EACH == 1u)) / 4u;
    let first = group % GROUPS * TASKS;
    let turns = (TASKS + subgroups_of(at) - 1u) / subgroups_of(at);
    for (var turn = 0u; turn < turns; turn++) {
        let task = turn * subgroups_of(at) + subgroup_of(at);
        let n = first + task;
        let valid = here && task < TASKS && n < N;
        var sum = 0.0;
        if (valid) {
            for (var unit = lane_of(at); unit < row_units(); unit += lanes_of(at)) {
                sum += unit_product(FIRST_ROW + (expert - FIRST_EXPERT) * N + n, unit, start);
            }
        }
        sum = subgroup_sum(sum, at);
        if (valid && lane_of(at) == 0u) {
            if (WEIGHTED == 1u) {
                sum *= route[r * ROUTE_STRIDE + USED + k];
            }
            if (BIAS == 1u) {
                sum += bias[expert * N + n];
            }
            y[r * OUT_STRIDE + k * N + n] = sum;
        }
    }
}
