// y = d + a · bᵀ + a · c: what matrix units are trusted after. Every way of loading and storing a matrix is in it, and every subgroup of a
// workgroup has rows of its own.

import package::lib::grid::flat;
import package::lib::invocation::Invocation;
import package::matrix::Left;

override WORKGROUP: u32 = 128u;

const DEPTH: u32 = 32u;               // columns of a and b, rows of c
const LINE: u32 = DEPTH / 4u + 2u;
const C_LINE: u32 = SIZE / 4u + 2u;
const TEAMS: u32 = 4u;                // subgroups
const ROWS: u32 = TEAMS * SIZE;

const B_PLACE: u32 = ROWS * LINE;
const C_PLACE: u32 = B_PLACE + SIZE * LINE;
const TILE_FOURS: u32 = C_PLACE + DEPTH * C_LINE;
const STAGE_FOURS: u32 = ROWS * SIZE / 4u;

@group(0) @binding(0) var<storage, read> a: array<vec4<f32>>;             // [ROWS, DEPTH]
@group(0) @binding(1) var<storage, read> b: array<vec4<f32>>;             // [SIZE, DEPTH]
@group(0) @binding(2) var<storage, read> c: array<vec4<f32>>;             // [DEPTH, SIZE]
@group(0) @binding(3) var<storage, read> d: array<vec4<f32>>;             // [ROWS, SIZE]
@group(0) @binding(4) var<storage, read_write> y: array<vec4<f32>>;       // [ROWS, SIZE]

fn run(group: vec3<u32>, at: Invocation) {
    matrix_begin(at.local);
    for (var t = at.local; t < ROWS * DEPTH / 4u; t += WORKGROUP) {
        tile_put(t / (DEPTH / 4u) * LINE + t % (DEPTH / 4u), a[t]);
    }
    for (var t = at.local; t < SIZE * DEPTH / 4u; t += WORKGROUP) {
        tile_put(B_PLACE + t / (DEPTH / 4u) * LINE + t % (DEPTH / 4u), b[t]);
        tile_put(C_PLACE + t / (SIZE / 4u) * C_LINE + t % (SIZE / 4u), c[t]);
    }
    for (var t = at.local; t < STAGE_FOURS; t += WORKGROUP) {
        stage_put(t, d[t]);
    }
    workgroupBarrier();
    let own = subgroup_of(at) * SIZE * SIZE / 4u;
    var sums = load_sums(own, SIZE / 4u);
    for (var k = 0u; k < DEPTH / 4u; k += SIZE / 4u) {
        let left = load_left(subgroup_of(at) * SIZE * LINE + k, LINE);
        sums = multiply_add(left, load_right(B_PLACE + k, LINE), sums);
        sums = multiply_add(left, load_right_rows(C_PLACE + 4u * k * C_LINE, C_LINE), sums);
    }
    workgroupBarrier();
    stage_sums(sums, own, SIZE / 4u);
    workgroupBarrier();
    for (var t = at.local; t < STAGE_FOURS; t += WORKGROUP) {
        y[t] = staged(t);
    }
}
