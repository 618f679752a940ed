// Rows in f16, as matrix units multiply them: y[r, c] = x[r, c] (· norm[c] / root mean square of row r) / scale[r].
//
// The scale is a power of two, so that dividing by it is exact: the largest number of a row comes to lie below 2¹⁵, whatever it is,
// and none overflows. A row of y is its numbers, zeros up to whole blocks of 64, then its scale and three words of nothing; or with MATRICES
// all of that lies as in lib/halves_layout.wgsl.

import package::lib::grid::flat;
import package::lib::halves_layout::halves_four;
import package::lib::halves_layout::halves_scale;
import package::lib::reduce::workgroup_max_u32;
import package::lib::reduce::workgroup_sum_f32;

override COLS: u32 = 64u;
override STRIDE: u32 = 64u;       // numbers from a row of x to the next
override SHARES: u32 = 1u;        // rows of y to a row of x, of which each is COLS numbers, then a multiple of four
override OUT_STRIDE: u32 = 36u;   // words of a row of y
override MATRICES: u32 = 0u;      // 1: y lies in matrices of 16 × 16
override OUTPUT_ROWS: u32 = 0u;   // 1: x and y have a row for each output row, 2: y alone, of a step's rows
override NORM: u32 = 0u;          // 1: x is normalised
override EPS: f32 = 1e-5;
override WORKGROUP: u32 = 256u;

@group(0) @binding(0) var<storage, read> step: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;            // [rows, STRIDE]
@group(0) @binding(6) var<storage, read> norm: array<f32>;               // [COLS], or anything
@group(0) @binding(7) var<storage, read_write> y: array<vec2<u32>>;      // [rows, OUT_STRIDE]

// Where row r of y begins in x, in vectors.
fn start_of(r: u32) -> u32 {
    return r / SHARES * (STRIDE / 4u) + r % SHARES * (COLS / 4u);
}

// Numbers 4·four to 4·four + 3 of a row, without what pads it.
fn weighted(r: u32, four: u32) -> vec4<f32> {
    let v = x[start_of(r) + four];
    let c = vec4(4u * four) + vec4(0u, 1u, 2u, 3u);
    if (NORM == 0u) {
        return select(vec4<f32>(), v, c < vec4(COLS));
    }
    let at = min(c, vec4(COLS - 1u));
    return select(vec4<f32>(), v * vec4<f32>(norm[at.x], norm[at.y], norm[at.z], norm[at.w]), c < vec4(COLS));
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group_id: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let out = min(flat(group_id), max(select(step[0].x, step[0].y, OUTPUT_ROWS != 0u) * SHARES, 1u) - 1u);
    let r = select(out, step[1u + out].w, OUTPUT_ROWS == 2u);
    let fours = (COLS + 3u) / 4u;
    var largest = 0u;
    var squares = 0.0;
    for (var four = lane; four < fours; four += WORKGROUP) {
        // As bits positive floats are in order, and what is no number is above all of them.
        let bits = bitcast<vec4<u32>>(weighted(r, four)) & vec4(0x7fffffffu);
        largest = max(max(largest, max(bits.x, bits.y)), max(bits.z, bits.w));
        if (NORM == 1u) {
            let c = vec4(4u * four) + vec4(0u, 1u, 2u, 3u);
            let v = select(vec4<f32>(), x[start_of(r) + four], c < vec4(COLS));
            squares += dot(v, v);
        }
    }
    largest = workgroup_max_u32(largest, lane);
    var factor = 1.0;
    if (NORM == 1u) {
        factor = 1.0 / sqrt(workgroup_sum_f32(squares, lane) / f32(COLS) + EPS);
        largest = bitcast<u32>(bitcast<f32>(largest) * factor);
    }
    // 2^(14 − e) for the largest number's exponent e; infinities and what is no number stay what they are.
    let biased = clamp(largest >> 23u, 27u, 255u);
    let scale = select(bitcast<f32>((biased - 14u) << 23u), 1.0, biased == 255u);
    factor *= select(bitcast<f32>((268u - biased) << 23u), 1.0, biased == 255u);
    for (var four = lane; four < (COLS + 63u) / 64u * 16u; four += WORKGROUP) {
        var v = vec4<f32>();
        if (four < fours) {
            v = weighted(r, four) * factor;
        }
        y[select(out * (OUT_STRIDE / 2u) + four, halves_four(out, four, OUT_STRIDE), MATRICES == 1u)] = vec2(pack2x16float(v.xy), pack2x16float(v.zw));
    }
    if (lane == 0u) {
        let behind = out * OUT_STRIDE + (COLS + 63u) / 64u * 32u;
        y[select(behind, halves_scale(out, OUT_STRIDE), MATRICES == 1u) / 2u] = vec2(bitcast<u32>(scale), 0u);
    }
}
