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

// This lane's part of the sum of the squares that follow the copy of a normalised value.
fn input_squares(r: u32, at: Invocation) -> f32 {
    if (NORM == 0u) {
        return 0.0;
    }
    let blocks = (COLS + 15u) / 16u;
    var squares = vec4<f32>();
    for (var i = lane_of(at); i < (blocks + 3u) / 4u; i += lanes_of(at)) {
        let behind = vec4<u32>(0u, 1u, 2u, 3u) + 4u * i >= vec4<u32>(blocks);
        squares += select(x[r * (STRIDE / 4u) + blocks * 4u + i], vec4<f32>(), behind);
    }
    return squares.x + squares.y + squares.z + squares.w;
}
