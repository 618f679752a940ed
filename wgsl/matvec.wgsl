// y[r, n] = Σ over c of x[r, c] · w[n, c], for few rows of x: those of a tile share each load of weights.
//
// A team takes one or two pairs of rows of w at a time; its lanes walk along them unit by unit, SPLIT teams to a task. A team is a subgroup, or of
// several rows of x a part of one: lanes of other teams then read the same x, or the same weights, which come to all of them at once. The rows of a pair are PAIR_STEP
// apart: neighbours, or gate and up.
// What x is, and what becomes of the sums, is imported: package::input and package::output. The latter brings which rows of w there are for a row
// of x, and whether a row is one stretch: package::rows.

import package::lib::grid::flat;
import package::lib::invocation::Invocation;
import package::lib::row::row_units;
import package::weight::Unit;
import package::input::load_x;
import package::input::prepare_x;
import package::output::begin;
import package::output::finish;

override COLS: u32 = 64u;
override N: u32 = 64u;            // rows of w that this dispatch multiplies
override FIRST_ROW: u32 = 0u;     // the first of them in what is bound
override PAIR_STEP: u32 = 1u;     // from the first row of a pair to the second
override SINGLE: u32 = 0u;        // 1: x has one row
override OUTPUT_ROWS: u32 = 0u;   // 1: y has a row for each output row, 2: and x one for each row of the step
override TILE: u32 = 1u;          // rows of x that share a load of weights, 8 at most
override GROUPS: u32 = 1u;        // workgroups for a tile of x
override PAIRS: u32 = 8u;         // pairs of a workgroup
override DOUBLE: u32 = 0u;        // 1: two pairs to a task, so that x is loaded half as often
override HALVES: u32 = 0u;        // 1: each half of a subgroup takes one row of its pair; rows have no more units than that
override TEAMS: u32 = 1u;         // teams of a subgroup, each of TEAM_ROWS lanes at least
override PARTS: u32 = 1u;         // of which so many have the same rows of w and different rows of x, TILE / PARTS each
override SPLIT: u32 = 1u;         // teams of a task
override TASKS: u32 = 8u;         // SPLIT · PAIRS, or half as many with DOUBLE
override LINE: u32 = 16u;         // invocations that finish a row: at least as many as a workgroup has sums, or pairs of them with a GLU
override WORKGROUP: u32 = 256u;
override NORM: u32 = 0u;          // 1: x is the copy of a normalised value, whose squares follow it; 2: one row, whose squares are added up as it is loaded
override EPS: f32 = 1e-5;

@group(0) @binding(0) var<storage, read> step: array<vec4<u32>>;

override SUMS: u32 = TASKS * TILE;
override TEAM_ROWS: u32 = TILE / PARTS;

const OUTSIDE: u32 = 0xffffffffu; // in place of an invocation's number in its line, where it finishes nothing

var<workgroup> sums: array<vec4<f32>, SUMS>;   // [TASKS, TILE]
var<workgroup> row_scales: array<f32, TILE>;
var<private> tile_row: u32;                    // the row of the tile that this invocation finishes
var<private> own_squares: f32;                 // of what this invocation has loaded of a row of x

// What the sums are multiplied by, because a copy leaves it out: one over the root mean square of the value that it stands for.
fn scale() -> f32 {
    if (NORM == 2u) {
        // All teams of a task have loaded the row once, or both halves of each.
        var squares = 0.0;
        for (var s = 0u; s < SPLIT; s++) {
            squares += sums[s].z;
        }
        return row_factor() / sqrt(squares / f32(COLS * (1u + HALVES)) + EPS);
    }
    if (NORM == 1u) {
        return row_scales[tile_row] * row_factor();
    }
    return row_factor();
}

// The sums of the i-th pair of this workgroup.
fn sums_of(i: u32) -> vec2<f32> {
    let task = i / (1u + DOUBLE) * SPLIT;
    var sum = sums[task * TILE + tile_row];
    for (var s = 1u; s < SPLIT; s++) {
        sum += sums[(task + s) * TILE + tile_row];
    }
    return select(sum.xy, sum.zw, DOUBLE == 1u && i % 2u == 1u);
}

// What a unit of the rows contributes to a task's sums, of the first row of a tile alone.
fn products(x_row: u32, near: vec2<u32>, far: vec2<u32>, unit: u32, upper: bool) -> vec4<f32> {
    let at = stretch_of(unit);
    let a = load_unit(near.x + at.row, at.unit);
    if (HALVES == 1u) {
        let sum = at.factor * product(a, load_x(x_row + at.x_row, at.unit));
        return select(vec4<f32>(sum, 0.0, 0.0, 0.0), vec4<f32>(0.0, sum, 0.0, 0.0), upper);
    }
    let b = load_unit(near.y + at.row, at.unit);
    let x = load_x(x_row + at.x_row, at.unit);
    if (DOUBLE == 1u) {
        let c = load_unit(far.x + at.row, at.unit);
        let d = load_unit(far.y + at.row, at.unit);
        return at.factor * vec4<f32>(product(a, x), product(b, x), product(c, x), product(d, x));
    }
    return at.factor * vec4<f32>(product(a, x), product(b, x), 0.0, 0.0);
}

var<private> tile_sums: array<vec4<f32>, 8>;
var<private> x_rows: array<u32, 8>;

// The same for row k of a tile, where a row of w is one stretch.
fn add_row(k: u32, a: Unit, b: Unit, c: Unit, d: Unit, unit: u32) {
    if (k < TEAM_ROWS) {
        let x = load_x(x_rows[k], unit);
        var sum = vec4<f32>(product(a, x), product(b, x), 0.0, 0.0);
        if (DOUBLE == 1u) {
            sum = vec4<f32>(sum.xy, product(c, x), product(d, x));
        }
        tile_sums[k] += sum;
    }
}

// For all of them, written out: no place in a register is found at run time. Once for two rows of w and for four: compilers read all of it before
// they know which.
fn add_products(near: vec2<u32>, far: vec2<u32>, unit: u32) {
    let a = load_unit(near.x, unit);
    let b = load_unit(near.y, unit);
    var c = a;
    var d = b;
    if (DOUBLE == 1u) {
        c = load_unit(far.x, unit);
        d = load_unit(far.y, unit);
    }
    add_row(0u, a, b, c, d, unit);
    add_row(1u, a, b, c, d, unit);
    add_row(2u, a, b, c, d, unit);
    add_row(3u, a, b, c, d, unit);
    add_row(4u, a, b, c, d, unit);
    add_row(5u, a, b, c, d, unit);
    add_row(6u, a, b, c, d, unit);
    add_row(7u, a, b, c, d, unit);
}

// Gives the lane `step` further the sums of one row and takes over those of another.
fn exchange(k: u32, other: u32, step: u32, lane: u32, at: Invocation) {
    let upper = (lane & step) != 0u;
    let given = select(tile_sums[k + other], tile_sums[k], upper);
    let kept = select(tile_sums[k], tile_sums[k + other], upper);
    tile_sums[k] = kept + from_lane(given, step, at);
}

// Adds up the sums of a team's lanes: each stage halves the rows of x that a lane has sums of. At the end lane n has those of row n / (lanes / TEAM_ROWS).
fn sum_team(lane: u32, lanes: u32, at: Invocation) {
    if (TEAM_ROWS > 4u) {
        exchange(0u, 4u, lanes / 2u, lane, at);
        exchange(1u, 4u, lanes / 2u, lane, at);
        exchange(2u, 4u, lanes / 2u, lane, at);
        exchange(3u, 4u, lanes / 2u, lane, at);
    }
    if (TEAM_ROWS > 2u) {
        exchange(0u, 2u, 2u * lanes / TEAM_ROWS, lane, at);
        exchange(1u, 2u, 2u * lanes / TEAM_ROWS, lane, at);
    }
    if (TEAM_ROWS > 1u) {
        exchange(0u, 1u, lanes / TEAM_ROWS, lane, at);
    }
    for (var step = lanes / TEAM_ROWS / 2u; step > 0u; step /= 2u) {
        tile_sums[0] += from_lane(tile_sums[0], step, at);
    }
}

// The row of x behind row r of y; past the last row, which folding and tiles may bring, that one once more.
fn x_row_of(r: u32) -> u32 {
    if (SINGLE == 1u) {
        return 0u;
    }
    let rows = select(step[0].x, step[0].y, OUTPUT_ROWS != 0u);
    let near = min(r / SHARES, max(rows, 1u) - 1u);
    if (OUTPUT_ROWS == 2u) {
        return step[1u + near].w;
    }
    return near * STRETCHES;
}

fn run(group_id: vec3<u32>, at: Invocation) {
    var group = flat(group_id);
    var first_row = 0u;
    var rows = 1u;
    if (SINGLE == 0u) {
        rows = select(step[0].x, step[0].y, OUTPUT_ROWS != 0u);
    }
    rows *= SHARES;
    if (SINGLE == 0u || SHARES > 1u) {
        // Tiles of one group of weights follow each other, so that those weights come from memory once.
        let tiles = max((rows + TILE - 1u) / TILE, 1u);
        first_row = group % tiles * TILE;
        group = group / tiles;
    }
    let first_pair = group % GROUPS * PAIRS;
    let units = row_units() * STRETCHES;
    let lanes = lanes_of(at) / (TEAMS * (1u + HALVES));
    let lane = lane_of(at) % lanes;
    let upper = lane_of(at) >= lanes;
    let stride = lanes * SPLIT;
    let own = lane_of(at) / lanes % TEAMS;
    let own_rows = own % PARTS * TEAM_ROWS;
    let teams = subgroups_of(at) * (TEAMS / PARTS);
    let team = subgroup_of(at) * (TEAMS / PARTS) + own / PARTS;
    let turns = (TASKS + teams - 1u) / teams;
    let x_row = x_row_of(first_row);
    for (var k = 0u; k < TEAM_ROWS; k++) {
        x_rows[k] = x_row_of(first_row + own_rows + k);
    }
    // Lines of invocations finish a row each. What they need is asked for before the weights, so that it has come when they have.
    tile_row = min(at.local / LINE, TILE - 1u);
    let row = first_row + tile_row;
    let n = select(OUTSIDE, at.local % LINE, at.local < LINE * TILE && row < rows);
    prepare_x(group % GROUPS, at);
    let squares = input_squares(x_row_of(first_row + min(subgroup_of(at), TILE - 1u)), TILE == 1u, at);
    begin_row(first_row, group % GROUPS, at);
    begin(row, first_pair, n);
    for (var turn = 0u; turn < turns; turn++) {
        // Teams without a task repeat the last one, so that all meet in the sum. Those of one subgroup have the same columns of other rows.
        let nth = min(turn * teams + team, TASKS - 1u);
        let task = select(nth, nth % (TASKS / SPLIT) * SPLIT + nth / (TASKS / SPLIT), TEAMS > PARTS);
        let pair = first_pair + task / SPLIT * (1u + DOUBLE);
        var near = rows_of(pair);
        if (HALVES == 1u && upper) {
            near = near.yx;
        }
        let far = rows_of(pair + 1u);
        let start = task % SPLIT * lanes + lane;
        // As many steps as all lanes take, a number that is known when the pipeline is made: the loop is unrolled, and all its
        // weights are on their way at once. Then what is left over.
        if (TILE == 1u) {
            var sum = vec4<f32>();
            own_squares = 0.0;
            for (var i = 0u; i < units / stride; i++) {
                sum += products(x_row, near, far, i * stride + start, upper);
            }
            if (units % stride != 0u && units / stride * stride + start < units) {
                sum += products(x_row, near, far, units / stride * stride + start, upper);
            }
            if (NORM == 2u) {
                sum.z = own_squares;
            }
            if (DOUBLE == 1u || NORM == 2u) {
                sum = subgroup_sum4(sum, at);
            } else {
                sum = vec4<f32>(subgroup_sum2(sum.xy, at), 0.0, 0.0);
            }
            if (lane_of(at) == 0u) {
                sums[task] = sum;
            }
        } else {
            tile_sums = array<vec4<f32>, 8>();
            // So many turns as many teams have are not unrolled, for not all instructions would be at hand: the compiler does not know their number.
            let whole = select(units / stride, min(units / stride, rows << 16u), TEAMS > 1u);
            for (var i = 0u; i < whole; i++) {
                add_products(near, far, i * stride + start);
            }
            if (units % stride != 0u && units / stride * stride + start < units) {
                add_products(near, far, units / stride * stride + start);
            }
            if (TEAMS > 1u) {
                sum_team(lane, lanes, at);
                if (lane % (lanes / TEAM_ROWS) == 0u) {
                    sums[task * TILE + own_rows + lane / (lanes / TEAM_ROWS)] = tile_sums[0];
                }
            } else {
                for (var k = 0u; k < TILE; k++) {
                    var sum = tile_sums[k];
                    if (DOUBLE == 1u) {
                        sum = subgroup_sum4(sum, at);
                    } else {
                        sum = vec4<f32>(subgroup_sum2(sum.xy, at), 0.0, 0.0);
                    }
                    if (lane_of(at) == 0u) {
                        sums[task * TILE + k] = sum;
                    }
                }
            }
        }
        if (NORM == 1u && turn == 0u) {
            // Each subgroup finds the scales of some rows.
            for (var first = 0u; first < TILE; first += subgroups_of(at)) {
                let k = first + subgroup_of(at);
                var own = squares;
                if (first > 0u) {
                    own = input_squares(x_row_of(first_row + min(k, TILE - 1u)), false, at);
                }
                let all = subgroup_sum(own, at);
                if (k < TILE && lane_of(at) == 0u) {
                    row_scales[k] = 1.0 / sqrt(all / f32(COLS) + EPS);
                }
            }
        }
    }
    workgroupBarrier();
    finish(row, first_pair, n, at.local);
}
