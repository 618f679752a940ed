// y[r, n] = Σ over c of x[r, c] · w[n, c], for some dozens of rows on matrix units, and what becomes of it: THEN.
//
// What counts is how soon all weights have come and are decoded. A workgroup takes COLUMNS rows of w, and DEPTH columns of them at a time: 64 for each
// of its subgroups, which multiplies them with all ROWS rows of x. At the end the subgroups' sums are added up. x comes in f16 with a scale for each
// row and is multiplied as it lies there (halves.wgsl). The next weights are asked for before these are multiplied.

import package::lib::grid::flat;
import package::lib::halves_layout::halves_four;
import package::lib::halves_layout::halves_scale;
import package::lib::invocation::Invocation;
import package::lib::matmul_finish::finish;
import package::lib::matmul_finish::weight_row;
import package::lib::row::row_units;
import package::lib::unit_tile::put_part;
import package::matrix::Sums;
import package::matrix::matrix_stored::Stored;
import package::tiles::tile_weights;
import package::weight::Unit;

override COLS: u32 = 64u;
override N: u32 = 64u;            // rows of w that this dispatch multiplies
override FIRST_ROW: u32 = 0u;     // the first of them in what is bound
override X_STRIDE: u32 = 36u;     // words of a row of x
override OUTPUT_ROWS: u32 = 0u;   // 1: x and y have a row for each output row
override ROWS: u32 = 16u;         // rows of x in a tile, four matrices at most
override COLUMNS: u32 = 32u;      // rows of w in a tile, two matrices or four
override SHARES: u32 = 2u;        // subgroups of a workgroup
override WORKGROUP: u32 = 64u;    // SIZE · SIZE / 4 at least

const SEGMENT: u32 = 64u;                 // columns of a subgroup
const LINE: u32 = SEGMENT / 4u + 2u;      // vectors from a row of a tile to the next

override DEPTH: u32 = SHARES * SEGMENT;
override SHARE_FOURS: u32 = COLUMNS * LINE + 16u / SHARES;    // vectors of a subgroup's columns, so that neighbours, who write two at a time, fall into different banks
override TILE_FOURS: u32 = SHARES * SHARE_FOURS;
override STAGE_FOURS: u32 = SHARES * SIZE * SIZE / 4u;
override W_RUNS: u32 = COLUMNS * DEPTH / UNIT;
override W_LOADS: u32 = (W_RUNS + WORKGROUP - 1u) / WORKGROUP;
override X_PARTS: u32 = ROWS / SIZE;
override W_PARTS: u32 = COLUMNS / SIZE;

@group(0) @binding(0) var<storage, read> step: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> x: array<Stored>;            // [rows, X_STRIDE], see lib/halves_layout.wgsl
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;   // [rows, OUT_STRIDE]
@group(0) @binding(3) var<storage, read> bias: array<f32>;            // [N], or anything
@group(0) @binding(4) var<storage, read> residual: array<vec4<f32>>;  // [rows, OUT_STRIDE], or anything
@group(0) @binding(5) var<storage, read> x_words: array<f32>;         // x once more, for its scales

var<workgroup> row_scales: array<f32, ROWS>;

// What is held of the next weights, of x, and the sums: places are numbers known when the pipeline is made, or when its loops are unrolled, or they
// would not stay in registers.
var<private> held: array<Unit, 8>;
var<private> lefts: array<Left, 16>;      // [4 steps along the columns, ROWS / SIZE]
var<private> sums: array<Sums, 16>;       // [COLUMNS / SIZE, ROWS / SIZE]

// Row and first column of run t of a tile's weights: neighbours read neighbours.
fn run_of(t: u32) -> vec2<u32> {
    return vec2(t / (DEPTH / UNIT), t % (DEPTH / UNIT) * UNIT);
}

fn fetch_unit(i: u32, n0: u32, c0: u32, local: u32) {
    if (i < W_LOADS) {
        let at = run_of(min(i * WORKGROUP + local, W_RUNS - 1u));
        held[i] = load_unit(weight_row(n0, at.x), min((c0 + at.y) / UNIT, row_units() - 1u));
    }
}

fn fetch_four(i: u32, n0: u32, c0: u32, local: u32) {
    fetch_unit(i, n0, c0, local);
    fetch_unit(i + 1u, n0, c0, local);
    fetch_unit(i + 2u, n0, c0, local);
    fetch_unit(i + 3u, n0, c0, local);
}

fn fetch(n0: u32, c0: u32, local: u32) {
    fetch_four(0u, n0, c0, local);
    fetch_four(4u, n0, c0, local);
}

fn put_unit(i: u32, local: u32) {
    let t = i * WORKGROUP + local;
    if (i < W_LOADS && t < W_RUNS) {
        let at = run_of(t);
        let place = at.y / SEGMENT * SHARE_FOURS + at.x * LINE + at.y % SEGMENT / 4u;
        put_part(place, held[i], 0u);
        if (UNIT > 32u) {
            put_part(place + 8u, held[i], 8u);
        }
    }
}

fn put_four(i: u32, local: u32) {
    put_unit(i, local);
    put_unit(i + 1u, local);
    put_unit(i + 2u, local);
    put_unit(i + 3u, local);
}

fn put(local: u32) {
    put_four(0u, local);
    put_four(4u, local);
}

// Columns c + k · SIZE and on of the i-th rows of x; past the last row, the last ones once more.
fn fetch_left(k: u32, i: u32, r0: u32, last: u32, c: u32) {
    if (i < X_PARTS) {
        lefts[4u * k + i] = load_left_stored(halves_four(min(r0 + i * SIZE, last), (c + k * SIZE) / 4u, X_STRIDE), 4u);
    }
}

fn fetch_step(k: u32, r0: u32, last: u32, c: u32) {
    fetch_left(k, 0u, r0, last, c);
    fetch_left(k, 1u, r0, last, c);
    fetch_left(k, 2u, r0, last, c);
    fetch_left(k, 3u, r0, last, c);
}

// Columns c to c + 4 · SIZE of x.
fn fetch_x(r0: u32, last: u32, c: u32) {
    fetch_step(0u, r0, last, c);
    fetch_step(1u, r0, last, c);
    fetch_step(2u, r0, last, c);
    fetch_step(3u, r0, last, c);
}

fn multiply_part(k: u32, j: u32, right: u32) {
    if (j < W_PARTS) {
        let b = load_right(right + j * SIZE * LINE + k * SIZE / 4u, LINE);
        sums[4u * j] = multiply_add(lefts[4u * k], b, sums[4u * j]);
        if (X_PARTS > 1u) {
            sums[4u * j + 1u] = multiply_add(lefts[4u * k + 1u], b, sums[4u * j + 1u]);
        }
        if (X_PARTS > 2u) {
            sums[4u * j + 2u] = multiply_add(lefts[4u * k + 2u], b, sums[4u * j + 2u]);
            sums[4u * j + 3u] = multiply_add(lefts[4u * k + 3u], b, sums[4u * j + 3u]);
        }
    }
}

fn multiply_step(k: u32, right: u32) {
    multiply_part(k, 0u, right);
    multiply_part(k, 1u, right);
    multiply_part(k, 2u, right);
    multiply_part(k, 3u, right);
}

// Adds the products of 4 · SIZE columns.
fn multiply(right: u32) {
    multiply_step(0u, right);
    multiply_step(1u, right);
    multiply_step(2u, right);
    multiply_step(3u, right);
}

// What is added to the matrices' results, all of it asked for at once.
var<private> added: array<vec4<f32>, 16>;

fn ask(j: u32, i: u32, r: u32, n: u32, rows: u32, local: u32) {
    if (THEN == 1u && j < W_PARTS && i < X_PARTS) {
        let e = local % (SIZE * SIZE / 4u);
        let row = min(r + i * SIZE + e / (SIZE / 4u), rows - 1u);
        let column = min(n + j * SIZE + e % (SIZE / 4u) * 4u, (OWN_N - 1u) / 4u * 4u);
        added[4u * j + i] = residual[(row * OUT_STRIDE + FIRST_OUT + column) / 4u];
    }
}

fn ask_column(j: u32, r: u32, n: u32, rows: u32, local: u32) {
    ask(j, 0u, r, n, rows, local);
    ask(j, 1u, r, n, rows, local);
    ask(j, 2u, r, n, rows, local);
    ask(j, 3u, r, n, rows, local);
}

// The e-th four numbers of what all subgroups staged.
fn total(e: u32) -> vec4<f32> {
    var sum = staged(e);
    for (var s = 1u; s < SHARES; s++) {
        sum += staged(s * (SIZE * SIZE / 4u) + e);
    }
    return sum;
}

// The matrix of the j-th rows of w and the i-th of x, of a gate with that of the next rows of w.
fn finish_matrix(j: u32, i: u32, r0: u32, n0: u32, rows: u32, at: Invocation) {
    if (j < W_PARTS && i < X_PARTS) {
        let own = subgroup_of(at) * (SIZE * SIZE / 4u);
        let e = at.local % (SIZE * SIZE / 4u);
        stage_sums(sums[4u * j + i], own, SIZE / 4u);
        workgroupBarrier();
        let first = total(e);
        var second = first;
        var n = n0 + j * SIZE;
        if (THEN == 3u) {
            n = n0 + j / 2u * SIZE;
            workgroupBarrier();
            stage_sums(sums[4u * (j + 1u) % 16u + i], own, SIZE / 4u);
            workgroupBarrier();
            second = total(e);
        }
        let row = i * SIZE + e / (SIZE / 4u);
        let column = n + e % (SIZE / 4u) * 4u;
        if (at.local < SIZE * SIZE / 4u && r0 + row < rows && column < OWN_N) {
            finish(r0 + row, column, row_scales[row], first, second, added[4u * j + i]);
        }
        workgroupBarrier();
    }
}

fn finish_column(j: u32, r0: u32, n0: u32, rows: u32, at: Invocation) {
    finish_matrix(j, 0u, r0, n0, rows, at);
    finish_matrix(j, 1u, r0, n0, rows, at);
    finish_matrix(j, 2u, r0, n0, rows, at);
    finish_matrix(j, 3u, r0, n0, rows, at);
}

fn run(group_id: vec3<u32>, at: Invocation) {
    matrix_begin(at.local);
    let rows = max(select(step[0].x, step[0].y, OUTPUT_ROWS == 1u), 1u);
    let tiles = (rows + ROWS - 1u) / ROWS;
    let group = flat(group_id);
    let r0 = group % tiles * ROWS;
    let n0 = min(group / tiles, (N + COLUMNS - 1u) / COLUMNS - 1u) * OWN_COLUMNS;
    let last = (rows - 1u) / SIZE * SIZE;
    let own = subgroup_of(at);
    fetch(n0, 0u, at.local);
    for (var i = at.local; i < ROWS; i += WORKGROUP) {
        row_scales[i] = x_words[halves_scale(min(r0 + i, rows - 1u), X_STRIDE)];
    }
    for (var c0 = 0u; c0 < COLS; c0 += DEPTH) {
        // Past the end of a row there is nothing to multiply.
        let c = c0 + own * SEGMENT;
        let within = COLS % DEPTH == 0u || c < COLS;
        if (within) {
            fetch_x(r0, last, c);
        }
        workgroupBarrier();
        put(at.local);
        workgroupBarrier();
        if (c0 + DEPTH < COLS) {
            fetch(n0, c0 + DEPTH, at.local);
        }
        if (within) {
            multiply(own * SHARE_FOURS);
            if (SIZE == 8u) {
                fetch_x(r0, last, c + 4u * SIZE);
                multiply(own * SHARE_FOURS + SIZE);
            }
        }
    }
    ask_column(0u, r0, n0, rows, at.local);
    ask_column(1u, r0, n0, rows, at.local);
    ask_column(2u, r0, n0, rows, at.local);
    ask_column(3u, r0, n0, rows, at.local);
    finish_column(0u, r0, n0, rows, at);
    if (THEN != 3u) {
        finish_column(1u, r0, n0, rows, at);
    }
    finish_column(2u, r0, n0, rows, at);
    if (THEN != 3u) {
        finish_column(3u, r0, n0, rows, at);
    }
}
