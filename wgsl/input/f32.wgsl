// What a matvec multiplies, in f32: a value, or the copy of a normalised one (wgsl/copy/f32.wgsl).

import package::lib::fours::product;
import package::lib::row::within_row;

override STRIDE: u32 = 64u;   // from a row of x, or of its copy, to the next

@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;       // [rows, STRIDE]

// What a workgroup does before anything is loaded.
fn prepare_x(group: u32, at: Invocation) {
}

fn load_x(r: u32, unit: u32) -> X {
    var loaded: X;
    let start = r * (STRIDE / 4u) + unit * (UNIT / 4u);
    for (var four = 0u; four < UNIT / 4u; four++) {
        loaded.fours[four] = within_row(x[start + four], 4u * (unit * (UNIT / 4u) + four));
    }
    return loaded;
}

// This lane's part of the sum of the squares that follow the copy of a normalised value, asked for under no condition (wgsl/input/i8.wgsl).
fn input_squares(r: u32, alone: bool, at: Invocation) -> f32 {
    if (NORM == 0u) {
        return 0.0;
    }
    let blocks = (COLS + 15u) / 16u;
    let fours = (blocks + 3u) / 4u;
    let start = r * (STRIDE / 4u) + 4u * blocks;
    var squares = vec4<f32>();
    for (var n = 0u; n < (fours + lanes_of(at) - 1u) / lanes_of(at); n++) {
        let i = n * lanes_of(at) + lane_of(at);
        let behind = vec4<u32>(0u, 1u, 2u, 3u) + 4u * i >= vec4<u32>(blocks);
        squares += select(x[start + min(i, fours - 1u)], vec4<f32>(), behind);
    }
    return squares.x + squares.y + squares.z + squares.w;
}
