// What a matvec multiplies, as int8: the copy of a value (wgsl/copy/i8.wgsl).

import package::lib::quants::Quants;
import package::lib::row::row_units;

@group(0) @binding(1) var<storage, read> x: array<vec4<u32>>;

fn load_x(r: u32, unit: u32) -> Quants {
    let units = row_units();
    var scale = bitcast<vec4<f32>>(x[4u * units + unit]);
    var sum = bitcast<vec4<f32>>(x[5u * units + unit]);
    if (COLS % UNIT != 0u) {
        // Nothing wrote what lies past the row's end: no scale may make it count.
        let behind = vec4<u32>(0u, 16u, 32u, 48u) + UNIT * unit >= vec4<u32>(COLS);
        scale = select(scale, vec4<f32>(), behind);
        sum = select(sum, vec4<f32>(), behind);
    }
    return Quants(x[unit], x[units + unit], x[2u * units + unit], x[3u * units + unit], scale, sum);
}

fn product(u: Unit, v: Quants) -> f32 {
    return unit_dot_i8(u, v);
}

// This lane's part of the sum of the squares that follow the copy of a normalised value.
fn input_squares(at: Invocation) -> f32 {
    if (NORM == 0u) {
        return 0.0;
    }
    let blocks = (COLS + 15u) / 16u;
    var squares = vec4<f32>();
    for (var i = lane_of(at); i < (blocks + 3u) / 4u; i += lanes_of(at)) {
        let behind = vec4<u32>(0u, 1u, 2u, 3u) + 4u * i >= vec4<u32>(blocks);
        squares += select(bitcast<vec4<f32>>(x[6u * row_units() + i]), vec4<f32>(), behind);
    }
    return squares.x + squares.y + squares.z + squares.w;
}
