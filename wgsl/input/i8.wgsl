// What a matvec multiplies, as int8: the copy of a value (wgsl/copy/i8.wgsl).

import package::lib::quants::Quants;
import package::lib::row::row_units;

override X_STRIDE: u32 = 64u;   // words from a row of the copy to the next

@group(0) @binding(1) var<storage, read> x: array<vec4<u32>>;

// What a workgroup does before anything is loaded.
fn prepare_x(group: u32, at: Invocation) {
}

fn load_x(r: u32, unit: u32) -> Quants {
    let units = row_units();
    let at = r * (X_STRIDE / 4u) + unit;
    var scale = bitcast<vec4<f32>>(x[at + 4u * units]);
    var sum = bitcast<vec4<f32>>(x[at + 5u * units]);
    if (COLS % UNIT != 0u) {
        // Nothing wrote what lies past the row's end: no scale may make it count.
        let behind = vec4<u32>(0u, 16u, 32u, 48u) + UNIT * unit >= vec4<u32>(COLS);
        scale = select(scale, vec4<f32>(), behind);
        sum = select(sum, vec4<f32>(), behind);
    }
    return Quants(x[at], x[at + units], x[at + 2u * units], x[at + 3u * units], scale, sum);
}

fn product(u: Unit, v: Quants) -> f32 {
    return unit_dot_i8(u, v);
}

// This lane's part of the sum of the squares that follow the copy of a normalised value. Of a row alone they are asked for under no condition: behind
// one, no weights would be asked for before they have come. Of several it takes longer.
fn input_squares(r: u32, alone: bool, at: Invocation) -> f32 {
    if (NORM == 0u) {
        return 0.0;
    }
    let blocks = (COLS + 15u) / 16u;
    let fours = (blocks + 3u) / 4u;
    let start = r * (X_STRIDE / 4u) + 6u * row_units();
    var squares = vec4<f32>();
    if (!alone) {
        for (var i = lane_of(at); i < fours; i += lanes_of(at)) {
            let behind = vec4<u32>(0u, 1u, 2u, 3u) + 4u * i >= vec4<u32>(blocks);
            squares += select(bitcast<vec4<f32>>(x[start + i]), vec4<f32>(), behind);
        }
        return squares.x + squares.y + squares.z + squares.w;
    }
    for (var n = 0u; n < (fours + lanes_of(at) - 1u) / lanes_of(at); n++) {
        let i = n * lanes_of(at) + lane_of(at);
        let behind = vec4<u32>(0u, 1u, 2u, 3u) + 4u * i >= vec4<u32>(blocks);
        squares += select(bitcast<vec4<f32>>(x[start + min(i, fours - 1u)]), vec4<f32>(), behind);
    }
    return squares.x + squares.y + squares.z + squares.w;
}
