// y[r, n] = Σ over c of x[r, c] · w[n, c]  (+ b[n]), for many rows, in registers alone.
//
// A program that stands in for an adapter computes for all lanes of a subgroup at once, but it loads for one after the other, from workgroup memory as from
// any other, so that a load costs as much as a hundred products. Here a subgroup loads each number once: a lane has four rows of w to itself, whose
// weights it decodes once for 16 rows of x; of these each of eight lanes loads one, and then another, and hands its numbers to all.

import package::lib::eight::of_eight;
import package::lib::eight_values::Eight;
import package::lib::invocation::Invocation;
import package::lib::row::row_units;
import package::lib::row::within_row;
import package::weight::Unit;

override COLS: u32 = 64u;
override STRIDE: u32 = 64u;
override N: u32 = 64u;            // rows of w that this dispatch multiplies
override FIRST_ROW: u32 = 0u;     // the first of them in what is bound
override FIRST_OUT: u32 = 0u;     // where its result goes in a row of y
override OUT_STRIDE: u32 = 64u;
override BIAS: u32 = 0u;
override OUTPUT_ROWS: u32 = 0u;   // 1: x has a row for each row asked for
override WORKGROUP: u32 = 32u;    // invocations: a subgroup

const ROWS: u32 = 16u;            // of x, for a workgroup
const COLUMNS: u32 = 4u;          // of y, for a lane

@group(0) @binding(0) var<storage, read> step: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;       // [rows, STRIDE]
@group(0) @binding(2) var<storage, read> bias: array<f32>;          // [N], or anything
@group(0) @binding(3) var<storage, read_write> y: array<f32>;       // [rows, OUT_STRIDE]

// Written out, here and below: no place in a register is found at run time.
var<private> sums: array<vec4<f32>, 16>;   // of each row of x the lane's four

struct Weights {
    w0: vec4<f32>,
    w1: vec4<f32>,
    w2: vec4<f32>,
    w3: vec4<f32>,
}

fn add(k: u32, v: vec4<f32>, w: Weights) {
    sums[k] += vec4<f32>(dot(v, w.w0), dot(v, w.w1), dot(v, w.w2), dot(v, w.w3));
}

fn add_eight(k: u32, v: Eight, w: Weights) {
    add(k, v.v0, w);
    add(k + 1u, v.v1, w);
    add(k + 2u, v.v2, w);
    add(k + 3u, v.v3, w);
    add(k + 4u, v.v4, w);
    add(k + 5u, v.v5, w);
    add(k + 6u, v.v6, w);
    add(k + 7u, v.v7, w);
}

fn put(k: u32, r0: u32, rows: u32, n: vec4<u32>, biases: vec4<f32>) {
    if (r0 + k < rows) {
        let to = (r0 + k) * OUT_STRIDE + FIRST_OUT;
        let sum = sums[k] + biases;
        if (n.x < N) {
            y[to + n.x] = sum.x;
        }
        if (n.y < N) {
            y[to + n.y] = sum.y;
        }
        if (n.z < N) {
            y[to + n.z] = sum.z;
        }
        if (n.w < N) {
            y[to + n.w] = sum.w;
        }
    }
}

fn put_four(k: u32, r0: u32, rows: u32, n: vec4<u32>, biases: vec4<f32>) {
    put(k, r0, rows, n, biases);
    put(k + 1u, r0, rows, n, biases);
    put(k + 2u, r0, rows, n, biases);
    put(k + 3u, r0, rows, n, biases);
}

fn run(group: vec3<u32>, at: Invocation) {
    let rows = select(step[0].x, step[0].y, OUTPUT_ROWS == 1u);
    let r0 = group.y * ROWS;
    // Rows past the last one are that one once more.
    let near = min(r0 + at.local % 8u, max(rows, 1u) - 1u) * (STRIDE / 4u);
    let far = min(r0 + 8u + at.local % 8u, max(rows, 1u) - 1u) * (STRIDE / 4u);
    let n = vec4<u32>(0u, 1u, 2u, 3u) * WORKGROUP + group.x * (COLUMNS * WORKGROUP) + at.local;
    let w_rows = FIRST_ROW + min(n, vec4<u32>(N - 1u));
    for (var unit = 0u; unit < row_units(); unit++) {
        let a = load_unit(w_rows.x, unit);
        let b = load_unit(w_rows.y, unit);
        let c = load_unit(w_rows.z, unit);
        let d = load_unit(w_rows.w, unit);
        for (var four = 0u; four < UNIT / 4u; four++) {
            let column = unit * (UNIT / 4u) + four;
            let w = Weights(unit_weights(a, four), unit_weights(b, four), unit_weights(c, four), unit_weights(d, four));
            add_eight(0u, of_eight(within_row(x[near + column], 4u * column), at), w);
            add_eight(8u, of_eight(within_row(x[far + column], 4u * column), at), w);
        }
    }
    var biases = vec4<f32>();
    if (BIAS != 0u) {
        let places = FIRST_OUT + min(n, vec4<u32>(N - 1u));
        biases = vec4<f32>(bias[places.x], bias[places.y], bias[places.z], bias[places.w]);
    }
    put_four(0u, r0, rows, n, biases);
    put_four(4u, r0, rows, n, biases);
    put_four(8u, r0, rows, n, biases);
    put_four(12u, r0, rows, n, biases);
}
