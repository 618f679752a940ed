// y[r, n] = Σ over c of x[r, c] · w[n, c], for few rows of x: each passes over all weights.
//
// A team (a subgroup) takes two rows of w at a time, PAIR_STEP apart; its lanes walk along them unit by unit, SPLIT teams to a pair.
// What x is, and what becomes of the sums, is imported: package::input and package::output.

import package::lib::grid::flat;
import package::lib::invocation::Invocation;
import package::weight::Unit;
import package::input::load_x;
import package::output::begin;
import package::output::finish;

override COLS: u32 = 64u;
override N: u32 = 64u;            // rows of w that this dispatch multiplies
override FIRST_ROW: u32 = 0u;     // the first of them in what is bound
override PAIR_STEP: u32 = 1u;     // from the first row of a pair to the second
override GROUPS: u32 = 1u;        // workgroups for a row of x
override PAIRS: u32 = 8u;         // pairs of a workgroup
override SPLIT: u32 = 1u;         // teams of a pair
override TASKS: u32 = 8u;         // PAIRS · SPLIT
override WORKGROUP: u32 = 256u;
override NORM: u32 = 0u;          // 1: x is the twin of a normalised value, whose squares follow it
override EPS: f32 = 1e-5;

var<workgroup> sums: array<vec2<f32>, TASKS>;
var<workgroup> row_scale: f32;

// What the sums are multiplied by, because a twin leaves it out: one over the root mean square of the value that it stands for.
fn scale() -> f32 {
    if (NORM == 1u) {
        return row_scale;
    }
    return 1.0;
}

// The rows of pair p, counted from FIRST_ROW.
fn rows_of(p: u32) -> vec2<u32> {
    let row = p / PAIR_STEP * (2u * PAIR_STEP) + p % PAIR_STEP;
    return vec2<u32>(row, row + PAIR_STEP);
}

// The sums of the i-th pair of this workgroup.
fn sums_of(i: u32) -> vec2<f32> {
    var sum = sums[i * SPLIT];
    for (var s = 1u; s < SPLIT; s++) {
        sum += sums[i * SPLIT + s];
    }
    return sum;
}

@compute @workgroup_size(WORKGROUP)
fn main(at: Invocation) {
    let group = flat(at.group);
    let r = group / GROUPS;
    let first_pair = group % GROUPS * PAIRS;
    let units = (COLS + UNIT - 1u) / UNIT;
    let stride = lanes_of(at) * SPLIT;
    let turns = (TASKS + teams_of(at) - 1u) / teams_of(at);
    // Asked for before the weights, so that it has come when they have.
    begin(r, first_pair, at.local);
    let squares = input_squares(at);
    for (var turn = 0u; turn < turns; turn++) {
        // Teams without a task repeat the last one, so that all meet in the sum.
        let task = min(turn * teams_of(at) + team_of(at), TASKS - 1u);
        let rows = min(rows_of(first_pair + task / SPLIT), vec2<u32>(N - 1u));
        let first = (FIRST_ROW + rows) * units;
        let start = task % SPLIT * lanes_of(at) + lane_of(at);
        var sum = vec2<f32>();
        // As many steps as all lanes take, a number that is known when the pipeline is made: the loop is unrolled, and all its
        // weights are on their way at once. Then what is left over.
        for (var i = 0u; i < units / stride; i++) {
            let u = i * stride + start;
            let a = load_unit(first.x + u);
            let b = load_unit(first.y + u);
            let x = load_x(r, u);
            sum += vec2<f32>(product(a, x), product(b, x));
        }
        let u = units / stride * stride + start;
        if (u < units) {
            let x = load_x(r, u);
            sum += vec2<f32>(product(load_unit(first.x + u), x), product(load_unit(first.y + u), x));
        }
        if (NORM == 1u && turn == 0u) {
            let total = team_sum(vec3<f32>(sum, squares), at);
            sum = total.xy;
            if (at.local == 0u) {
                row_scale = 1.0 / sqrt(total.z / f32(COLS) + EPS);
            }
        } else {
            sum = team_sum(vec3<f32>(sum, 0.0), at).xy;
        }
        if (lane_of(at) == 0u) {
            sums[task] = sum;
        }
    }
    workgroupBarrier();
    finish(r, first_pair, at.local);
}
