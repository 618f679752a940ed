// y[r, n] = Σ over c of x[r, c] · w[n, c]  (+ b[n]), for many rows: tiles of 64 × 64 in registers, fed through workgroup memory.

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
override OUTPUT_ROWS: u32 = 0u;         // 1: x has a row for each row asked for

const TILE: u32 = 64u;
const DEPTH: u32 = 32u;           // columns of a tile
const PART: u32 = min(UNIT, DEPTH); // columns of a unit that a tile takes
const LINE: u32 = DEPTH / 4u;     // vectors of a tile's row

@group(0) @binding(0) var<storage, read> step: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;       // [rows, STRIDE]
@group(0) @binding(2) var<storage, read> bias: array<f32>;          // [N], or anything
@group(0) @binding(3) var<storage, read_write> y: array<f32>;       // [rows, OUT_STRIDE]

var<workgroup> x_tile: array<vec4<f32>, TILE * LINE>;
var<workgroup> w_tile: array<vec4<f32>, TILE * LINE>;

// Where a vector of a row is in a tile: another place in each of LINE rows, so that neighbours' reads fall into different banks.
fn place(row: u32, vector: u32) -> u32 { return row * LINE + (vector ^ (row % LINE)); }

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let rows = select(step[0].x, step[0].y, OUTPUT_ROWS == 1u);
    let r0 = group.y * TILE;
    let n0 = group.x * TILE;
    // Each invocation sums 4 × 4 results, 16 apart, so that neighbours read neighbouring rows of a tile.
    let i = local / 16u;
    let j = local % 16u;
    var acc: array<vec4<f32>, 4>;
    for (var c0 = 0u; c0 < COLS; c0 += DEPTH) {
        for (var t = local; t < TILE * LINE; t += 256u) {
            let r = t / LINE;
            let c = c0 / 4u + t % LINE;
            var v = vec4<f32>();
            if (r0 + r < rows && c < row_units() * (UNIT / 4u)) {
                v = within_row(x[(r0 + r) * (STRIDE / 4u) + c], 4u * c);
            }
            x_tile[place(r, t % LINE)] = v;
        }
        for (var t = local; t < TILE * (DEPTH / PART); t += 256u) {
            let n = t / (DEPTH / PART);
            let c = t % (DEPTH / PART) * PART;
            let unit = (c0 + c) / UNIT;
            let first = (c0 + c) % UNIT / 4u;
            if (n0 + n < N && unit < row_units()) {
                let weights = load_unit(FIRST_ROW + n0 + n, unit);
                for (var four = 0u; four < PART / 4u; four++) {
                    w_tile[place(n, c / 4u + four)] = unit_weights(weights, first + four);
                }
            } else {
                for (var four = 0u; four < PART / 4u; four++) {
                    w_tile[place(n, c / 4u + four)] = vec4<f32>();
                }
            }
        }
        workgroupBarrier();
        for (var c = 0u; c < LINE; c++) {
            let w0 = w_tile[place(j, c)];
            let w1 = w_tile[place(j + 16u, c)];
            let w2 = w_tile[place(j + 32u, c)];
            let w3 = w_tile[place(j + 48u, c)];
            for (var k = 0u; k < 4u; k++) {
                let v = x_tile[place(i + 16u * k, c)];
                acc[k] += vec4<f32>(dot(v, w0), dot(v, w1), dot(v, w2), dot(v, w3));
            }
        }
        workgroupBarrier();
    }
    for (var k = 0u; k < 4u; k++) {
        let r = r0 + i + 16u * k;
        for (var l = 0u; l < 4u; l++) {
            let n = n0 + j + 16u * l;
            if (r < rows && n < N) {
                var sum = acc[k][l];
                if (BIAS != 0u) {
                    sum += bias[FIRST_OUT + n];
                }
                y[r * OUT_STRIDE + FIRST_OUT + n] = sum;
            }
        }
    }
}
