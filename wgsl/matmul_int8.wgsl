// y[r, n] = Σ over c of x[r, c] · w[n, c], for many rows by integer dot products, and what becomes of it: THEN.
//
// An invocation sums up two rows of w for 16 rows of x, whose int8 copies lie in workgroup memory, some units at a time: each unit of weights is
// loaded once for all of them. The two rows are PAIRS apart, or gate and up.

import package::input::load_x;
import package::lib::activation::activate_one;
import package::lib::clamped::gate_of;
import package::lib::clamped::up_of;
import package::lib::grid::flat;
import package::lib::invocation::Invocation;
import package::lib::quants::Quants;
import package::lib::row::row_units;
import package::tiles::tile_of;
import package::weight::Unit;

override COLS: u32 = 64u;
override N: u32 = 64u;            // rows of w that this dispatch multiplies
override FIRST_ROW: u32 = 0u;     // the first of them in what is bound
override FIRST_OUT: u32 = 0u;     // where its result goes in a row of y
override OUT_STRIDE: u32 = 64u;
override BIAS: u32 = 0u;
override THEN: u32 = 0u;          // as in matmul_matrix.wgsl
override ACT: u32 = 0u;
override NORM: u32 = 0u;          // 1: x is the copy of a normalised value, whose squares follow it
override EPS: f32 = 1e-5;

const WORKGROUP: u32 = 128u;
const PAIRS: u32 = 64u;           // of rows of w
const SHARE: u32 = 16u;           // rows of x of an invocation
const ROWS: u32 = WORKGROUP / PAIRS * SHARE;
const CHUNK: u32 = 4u;            // units that lie in workgroup memory

@group(0) @binding(0) var<storage, read> step: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;         // [rows, OUT_STRIDE]
@group(0) @binding(3) var<storage, read> bias: array<f32>;            // [N], or anything
@group(0) @binding(4) var<storage, read> residual: array<f32>;        // [rows, OUT_STRIDE], or anything

var<workgroup> held: array<Quants, 128>;      // [ROWS, CHUNK]
var<workgroup> row_scales: array<f32, 32>;    // [ROWS]

// Makes y[r, n] of its sum, and of a gate that of `second`.
fn finish(r: u32, n: u32, sum: f32, second: f32) {
    let at = y_row(r) * OUT_STRIDE + FIRST_OUT + n;
    var value = sum;
    if (BIAS != 0u) {
        value += bias[FIRST_OUT + tile_weights() + n];
    }
    if (THEN == 1u) {
        value += residual[at];
    } else if (THEN == 2u) {
        value = activate_one(ACT, value);
    } else if (THEN == 3u) {
        var factor = second;
        if (BIAS != 0u) {
            factor += bias[tile_weights() + second_step() + n];
        }
        value = activate_one(ACT, gate_of(value)) * up_of(factor);
    }
    y[at] = value;
}

fn run(group_id: vec3<u32>, at: Invocation) {
    let local = at.local;
    let tiles = tile_count(step[0].x, ROWS);
    let group = flat(group_id);
    let tile = tile_of(group % tiles, ROWS, local);
    let rows = tile.end;
    let r0 = tile.first;
    if (SPARSE && r0 >= rows) {
        return;
    }
    // Rows of w past the last one are that one once more.
    let gate = THEN == 3u;
    let n = group / tiles * select(2u * PAIRS, PAIRS, gate) + local % PAIRS;
    let results = select(N, N / 2u, gate);
    let second = n + PAIRS;
    let own = min(n, results - 1u);
    let first_row = FIRST_ROW + tile_weights() + own;
    let second_row = FIRST_ROW + tile_weights() + select(min(second, N - 1u), own + second_step(), gate);
    let share = local / PAIRS * SHARE;
    let units = row_units();
    var sums: array<vec2<f32>, 16>;
    for (var u0 = 0u; u0 < units; u0 += CHUNK) {
        workgroupBarrier();
        for (var t = local; t < ROWS * CHUNK; t += WORKGROUP) {
            held[t] = load_x(x_row(min(r0 + t / CHUNK, rows - 1u)), min(u0 + t % CHUNK, units - 1u));
        }
        workgroupBarrier();
        for (var k = 0u; k < min(CHUNK, units - u0); k++) {
            let a = load_unit(first_row, u0 + k);
            let b = load_unit(second_row, u0 + k);
            for (var i = 0u; i < SHARE; i++) {
                let v = held[(share + i) * CHUNK + k];
                sums[i] += vec2(product(a, v), product(b, v));
            }
        }
    }
    if (NORM == 1u) {
        // A subgroup for each row, as many turns as that takes.
        for (var first = 0u; first < ROWS; first += subgroups_of(at)) {
            let row = min(first + subgroup_of(at), ROWS - 1u);
            let squares = subgroup_sum(input_squares(x_row(min(r0 + row, rows - 1u)), false, at), at);
            if (lane_of(at) == 0u) {
                row_scales[row] = 1.0 / sqrt(squares / f32(COLS) + EPS);
            }
        }
    }
    workgroupBarrier();
    for (var i = 0u; i < SHARE; i++) {
        let r = r0 + share + i;
        if (r >= rows) {
            break;
        }
        var sum = sums[i];
        if (NORM == 1u) {
            sum *= row_scales[share + i];
        }
        if (n < results) {
            finish(r, n, sum.x, sum.y);
        }
        if (!gate && second < N) {
            finish(r, second, sum.y, 0.0);
        }
    }
}
