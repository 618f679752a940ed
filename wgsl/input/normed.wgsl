// What a matvec multiplies, in f32: a value times the weight of its norm, for few rows of w. No copy of it is needed beside the one of another kind.

import package::lib::fours::product;
import package::lib::row::within_row;

override STRIDE: u32 = 64u;   // from a row of x to the next

@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;           // [rows, STRIDE]
@group(0) @binding(9) var<storage, read> norm_weight: array<vec4<f32>>; // [COLS], zeros up to a multiple of 8

const AT_ONCE: u32 = 8u;

// What a workgroup does before anything is loaded.
fn prepare_x(group: u32, at: Invocation) {
}

fn load_x(r: u32, unit: u32) -> X {
    var loaded: X;
    let first = unit * (UNIT / 4u);
    for (var four = 0u; four < UNIT / 4u; four++) {
        let at = first + four;
        let v = within_row(x[r * (STRIDE / 4u) + at], 4u * at);
        own_squares += dot(v, v);
        loaded.fours[four] = v * norm_weight[at];
    }
    return loaded;
}

// This lane's part of the sum of the squares of a row, where loading it does not add them up. Some are asked for at a time.
fn input_squares(r: u32, alone: bool, at: Invocation) -> f32 {
    var squares = 0.0;
    if (NORM == 2u) {
        return squares;
    }
    let fours = (COLS + 3u) / 4u;
    for (var i = lane_of(at); i < fours; i += AT_ONCE * lanes_of(at)) {
        for (var n = 0u; n < AT_ONCE; n++) {
            let four = i + n * lanes_of(at);
            let behind = vec4<u32>(0u, 1u, 2u, 3u) + 4u * four >= vec4<u32>(COLS);
            let v = select(x[r * (STRIDE / 4u) + min(four, fours - 1u)], vec4<f32>(), behind);
            squares += dot(v, v);
        }
    }
    return squares;
}
