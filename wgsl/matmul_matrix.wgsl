// y[r, n] = Σ over c of x[r, c] · w[n, c], for many rows on matrix units, and what becomes of it: THEN.
//
// x comes in f16 with a scale for each row (halves.wgsl); a tile of it, and one of w as its decoder gives it, lie in workgroup memory, rows padded
// by eight so that neighbours fall into different banks. A subgroup sums up 2 × PARTS matrices. The next tiles are asked for
// before these are multiplied, or those behind them.

import package::lib::grid::flat;
import package::lib::invocation::Invocation;
import package::lib::matmul_finish::finish;
import package::lib::matmul_finish::weight_row;
import package::lib::row::row_units;
import package::lib::unit_tile::put_part;
import package::matrix::Eight;
import package::tiles::tile_of;
import package::weight::Unit;

override COLS: u32 = 64u;
override N: u32 = 64u;            // rows of w that this dispatch multiplies
override FIRST_ROW: u32 = 0u;     // the first of them in what is bound
override X_STRIDE: u32 = 36u;     // words from a row of x to the next
override ROWS: u32 = 32u;         // rows of x in a tile
override COLUMNS: u32 = 64u;      // rows of w in a tile
override DEPTH: u32 = 32u;        // columns of both
override PARTS: u32 = 2u;         // matrices of w's rows that a subgroup multiplies: 2 or 4
override AHEAD: u32 = 1u;         // tiles that are asked for ahead of those that are multiplied: 1 or 2
override WORKGROUP: u32 = 64u;    // ROWS / (2 · SIZE) · COLUMNS / (PARTS · SIZE) subgroups

@group(0) @binding(0) var<storage, read> step: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> x: array<Eight>;             // [rows, X_STRIDE]
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;   // [rows, OUT_STRIDE]
@group(0) @binding(3) var<storage, read> bias: array<f32>;            // [N], or anything
@group(0) @binding(4) var<storage, read> residual: array<vec4<f32>>;  // [rows, OUT_STRIDE], or anything
@group(0) @binding(5) var<storage, read> x_words: array<f32>;         // x once more, for its scales

override HELD: u32 = 32u;         // weights that an invocation decodes at a time, if a unit has as many

override PART: u32 = min(UNIT, HELD);
override LINE: u32 = DEPTH / 4u + 2u;     // vectors from a row of a tile to the next
override TILE_FOURS: u32 = (ROWS + COLUMNS) * LINE;
override STAGE_FOURS: u32 = WORKGROUP / 32u * SIZE * SIZE / 4u;
override X_RUNS: u32 = ROWS * DEPTH / 8u;
override W_RUNS: u32 = COLUMNS * DEPTH / PART;
override X_LOADS: u32 = (X_RUNS + WORKGROUP - 1u) / WORKGROUP;
override W_LOADS: u32 = (W_RUNS + WORKGROUP - 1u) / WORKGROUP;

// Row and first column of run t of a tile's weights, which an invocation decodes. Whole units are read by neighbours, parts of one by one.
fn run_of(t: u32) -> vec2<u32> {
    if (PART < UNIT) {
        return vec2(t % COLUMNS, t / COLUMNS * PART);
    }
    return vec2(t / (DEPTH / PART), t % (DEPTH / PART) * PART);
}

var<workgroup> row_scales: array<f32, ROWS>;

// What an invocation holds of the next tiles, of two in turn. Places are numbers known when the pipeline is made, or they would not stay in registers.
var<private> x_held: array<Eight, 8>;
var<private> w_held: array<Unit, 16>;

fn fetch_x(turn: u32, i: u32, r0: u32, rows: u32, c0: u32, local: u32) {
    if (i < X_LOADS) {
        let t = min(i * WORKGROUP + local, X_RUNS - 1u);
        let r = min(r0 + t / (DEPTH / 8u), rows - 1u);
        x_held[4u * turn + i] = x[held_row(i, r) * (X_STRIDE / 4u) + c0 / 8u + t % (DEPTH / 8u)];
    }
}

// Looks up which row of x that will be.
fn find_x(i: u32, r0: u32, rows: u32, local: u32) {
    if (i < X_LOADS) {
        let t = min(i * WORKGROUP + local, X_RUNS - 1u);
        hold_row(i, min(r0 + t / (DEPTH / 8u), rows - 1u));
    }
}

fn fetch_w(turn: u32, i: u32, n0: u32, c0: u32, local: u32) {
    if (i < W_LOADS) {
        let at = run_of(min(i * WORKGROUP + local, W_RUNS - 1u));
        // Past the end of a row x is zero.
        w_held[8u * turn + i] = load_unit(weight_row(n0, at.x), min((c0 + at.y) / UNIT, row_units() - 1u));
    }
}

fn fetch(turn: u32, r0: u32, n0: u32, rows: u32, c0: u32, local: u32) {
    fetch_w(turn, 0u, n0, c0, local);
    fetch_w(turn, 1u, n0, c0, local);
    fetch_w(turn, 2u, n0, c0, local);
    fetch_w(turn, 3u, n0, c0, local);
    fetch_w(turn, 4u, n0, c0, local);
    fetch_w(turn, 5u, n0, c0, local);
    fetch_w(turn, 6u, n0, c0, local);
    fetch_w(turn, 7u, n0, c0, local);
    fetch_x(turn, 0u, r0, rows, c0, local);
    fetch_x(turn, 1u, r0, rows, c0, local);
    fetch_x(turn, 2u, r0, rows, c0, local);
    fetch_x(turn, 3u, r0, rows, c0, local);
}

fn put_x(turn: u32, i: u32, local: u32) {
    let t = i * WORKGROUP + local;
    if (i < X_LOADS && t < X_RUNS) {
        tile_put_eight(t / (DEPTH / 8u) * LINE + t % (DEPTH / 8u) * 2u, x_held[4u * turn + i]);
    }
}

fn put_w(turn: u32, i: u32, c0: u32, local: u32) {
    let t = i * WORKGROUP + local;
    if (i < W_LOADS && t < W_RUNS) {
        let at = run_of(t);
        let place = (ROWS + at.x) * LINE + at.y / 4u;
        if (PART == UNIT || (c0 + at.y) % UNIT == 0u) {
            put_part(place, w_held[8u * turn + i], 0u);
        }
        if (UNIT > 32u && (PART == UNIT || (c0 + at.y) % UNIT != 0u)) {
            put_part(place + PART / 64u * 8u, w_held[8u * turn + i], 8u);
        }
    }
}

fn put(turn: u32, c0: u32, local: u32) {
    put_w(turn, 0u, c0, local);
    put_w(turn, 1u, c0, local);
    put_w(turn, 2u, c0, local);
    put_w(turn, 3u, c0, local);
    put_w(turn, 4u, c0, local);
    put_w(turn, 5u, c0, local);
    put_w(turn, 6u, c0, local);
    put_w(turn, 7u, c0, local);
    put_x(turn, 0u, local);
    put_x(turn, 1u, local);
    put_x(turn, 2u, local);
    put_x(turn, 3u, local);
}

// Adds the products of SIZE columns of both tiles.
fn multiply(left: u32, right: u32, sums: ptr<function, array<Sums, 8>>) {
    let a0 = load_left(left, LINE);
    let a1 = load_left(left + SIZE * LINE, LINE);
    let b0 = load_right(right, LINE);
    (*sums)[0] = multiply_add(a0, b0, (*sums)[0]);
    (*sums)[4] = multiply_add(a1, b0, (*sums)[4]);
    let b1 = load_right(right + SIZE * LINE, LINE);
    (*sums)[1] = multiply_add(a0, b1, (*sums)[1]);
    (*sums)[5] = multiply_add(a1, b1, (*sums)[5]);
    if (PARTS > 2u) {
        let b2 = load_right(right + 2u * SIZE * LINE, LINE);
        (*sums)[2] = multiply_add(a0, b2, (*sums)[2]);
        (*sums)[6] = multiply_add(a1, b2, (*sums)[6]);
        let b3 = load_right(right + 3u * SIZE * LINE, LINE);
        (*sums)[3] = multiply_add(a0, b3, (*sums)[3]);
        (*sums)[7] = multiply_add(a1, b3, (*sums)[7]);
    }
}

// Adds the products of a tile's columns, from c0 on; `own` are the subgroup's rows and columns of it.
fn multiply_tile(turn: u32, r0: u32, n0: u32, rows: u32, c0: u32, own: vec2<u32>, local: u32, sums: ptr<function, array<Sums, 8>>) {
    workgroupBarrier();
    put(turn, c0, local);
    workgroupBarrier();
    if (c0 + AHEAD * DEPTH < COLS) {
        fetch(turn, r0, n0, rows, c0 + AHEAD * DEPTH, local);
    }
    let left = own.x * LINE;
    let right = (ROWS + own.y) * LINE;
    for (var c = 0u; c < DEPTH / 4u; c += SIZE) {
        multiply(left + c, right + c, sums);
        multiply(left + c + SIZE / 4u, right + c + SIZE / 4u, sums);
        if (DEPTH > 2u * SIZE) {
            multiply(left + c + SIZE / 2u, right + c + SIZE / 2u, sums);
            multiply(left + c + SIZE * 3u / 4u, right + c + SIZE * 3u / 4u, sums);
        }
    }
}

// What is added to the matrix whose first result is y[r, n], asked for while the one before it is finished.
var<private> ahead: array<vec4<f32>, 2>;

fn ask(r: u32, n: u32, rows: u32, at: Invocation) {
    if (THEN == 1u) {
        let stride = lanes_of(at);
        let e = vec2(lane_of(at), lane_of(at) + stride) % (SIZE * SIZE / 4u);
        let row = min(vec2(r) + e / (SIZE / 4u), vec2(rows - 1u));
        let place = (row * OUT_STRIDE + FIRST_OUT + min(vec2(n) + e % (SIZE / 4u) * 4u, vec2((OWN_N - 1u) / 4u * 4u))) / 4u;
        ahead[0] = residual[place.x];
        ahead[1] = residual[place.y];
    }
}

// The e-th four numbers of the matrices whose first result is y[r, n].
fn finish_four(e: u32, gate: vec4<f32>, added: vec4<f32>, r: u32, n: u32, r0: u32, rows: u32, at: Invocation) {
    let row = r + e / (SIZE / 4u);
    let column = n + e % (SIZE / 4u) * 4u;
    if (e < SIZE * SIZE / 4u && row < rows && column < OWN_N) {
        let sum = staged(subgroup_of(at) * SIZE * SIZE / 4u + e);
        finish(row, column, row_scales[row - r0], select(sum, gate, vec4(THEN == 3u)), sum, added);
    }
}

// The matrices `first` and, of a gate, `second`, whose first result is y[r, n]; next.xy are those of the matrix that follows.
fn finish_matrix(first: Sums, second: Sums, r: u32, n: u32, next: vec2<u32>, r0: u32, rows: u32, at: Invocation) {
    let own = subgroup_of(at) * SIZE * SIZE / 4u;
    let added = ahead;
    ask(next.x, next.y, rows, at);
    var gates: array<vec4<f32>, 2>;
    let e = lane_of(at);
    stage_sums(first, own, SIZE / 4u);
    workgroupBarrier();
    if (THEN == 3u) {
        gates[0] = staged(own + e % (SIZE * SIZE / 4u));
        gates[1] = staged(own + (e + lanes_of(at)) % (SIZE * SIZE / 4u));
        workgroupBarrier();
        stage_sums(second, own, SIZE / 4u);
        workgroupBarrier();
    }
    finish_four(e, gates[0], added[0], r, n, r0, rows, at);
    finish_four(e + lanes_of(at), gates[1], added[1], r, n, r0, rows, at);
    workgroupBarrier();
}

fn run(group_id: vec3<u32>, at: Invocation) {
    matrix_begin(at.local);
    let tiles = tile_count(step[0].x, ROWS);
    let group = flat(group_id);
    let tile = tile_of(group % tiles, ROWS, at.local);
    let rows = tile.end;
    let r0 = tile.first;
    if (SPARSE && r0 >= rows) {
        return;
    }
    let n0 = min(group / tiles, (N + COLUMNS - 1u) / COLUMNS - 1u) * OWN_COLUMNS;
    // The subgroup's rows and columns of the tile.
    let across = COLUMNS / (PARTS * SIZE);
    let row = subgroup_of(at) / across * 2u * SIZE;
    let column = subgroup_of(at) % across * PARTS * SIZE;
    var sums: array<Sums, 8>;
    for (var i = at.local; i < ROWS; i += WORKGROUP) {
        row_scales[i] = x_words[x_row(min(r0 + i, rows - 1u)) * X_STRIDE + X_STRIDE - 4u];
    }
    find_x(0u, r0, rows, at.local);
    find_x(1u, r0, rows, at.local);
    find_x(2u, r0, rows, at.local);
    find_x(3u, r0, rows, at.local);
    fetch(0u, r0, n0, rows, 0u, at.local);
    if (AHEAD > 1u && DEPTH < COLS) {
        fetch(1u, r0, n0, rows, DEPTH, at.local);
    }
    for (var c0 = 0u; c0 < COLS; c0 += AHEAD * DEPTH) {
        multiply_tile(0u, r0, n0, rows, c0, vec2(row, column), at.local, &sums);
        if (AHEAD > 1u && c0 + DEPTH < COLS) {
            multiply_tile(1u, r0, n0, rows, c0 + DEPTH, vec2(row, column), at.local, &sums);
        }
    }
    let r = r0 + row;
    if (THEN == 3u) {
        let n = n0 + column / 2u;
        let none = vec2(r, n);
        finish_matrix(sums[0], sums[1], r, n, none, r0, rows, at);
        finish_matrix(sums[4], sums[5], r + SIZE, n, none, r0, rows, at);
        if (PARTS > 2u) {
            finish_matrix(sums[2], sums[3], r, n + SIZE, none, r0, rows, at);
            finish_matrix(sums[6], sums[7], r + SIZE, n + SIZE, none, r0, rows, at);
        }
        return;
    }
    let n = n0 + column;
    ask(r, n, rows, at);
    finish_matrix(sums[0], sums[0], r, n, vec2(r, n + SIZE), r0, rows, at);
    finish_matrix(sums[1], sums[1], r, n + SIZE, vec2(r + SIZE, n), r0, rows, at);
    finish_matrix(sums[4], sums[4], r + SIZE, n, vec2(r + SIZE, n + SIZE), r0, rows, at);
    finish_matrix(sums[5], sums[5], r + SIZE, n + SIZE, vec2(r, n + 2u * SIZE), r0, rows, at);
    if (PARTS > 2u) {
        finish_matrix(sums[2], sums[2], r, n + 2u * SIZE, vec2(r, n + 3u * SIZE), r0, rows, at);
        finish_matrix(sums[3], sums[3], r, n + 3u * SIZE, vec2(r + SIZE, n + 2u * SIZE), r0, rows, at);
        finish_matrix(sums[6], sums[6], r + SIZE, n + 2u * SIZE, vec2(r + SIZE, n + 3u * SIZE), r0, rows, at);
        finish_matrix(sums[7], sums[7], r + SIZE, n + 3u * SIZE, vec2(r, n), r0, rows, at);
    }
}
