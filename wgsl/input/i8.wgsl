// What a matvec multiplies, as int8: the twin of a value (wgsl/twin/i8.wgsl).

import package::lib::quants::Quants;

override NORM: u32 = 0u;      // 1: the twin of a normalised value, whose squares follow it
override EPS: f32 = 1e-5;

@group(0) @binding(1) var<storage, read> x: array<vec4<u32>>;

fn load_x(r: u32, unit: u32) -> Quants {
    let scales = bitcast<vec4<f32>>(x[COLS / 16u + unit]);
    return Quants(x[2u * unit], x[2u * unit + 1u], scales.xy, scales.zw);
}

fn product(u: Unit, v: Quants) -> f32 {
    return unit_dot_i8(u, v);
}

// What the sums are multiplied by, because a twin leaves it out: one over the root mean square of the value that it stands for.
// All invocations of a workgroup call it together.
fn input_scale(at: Invocation) -> f32 {
    if (NORM == 0u) {
        return 1.0;
    }
    let blocks = (COLS + 15u) / 16u;
    var squares = vec4<f32>();
    for (var i = lane_of(at); i < (blocks + 3u) / 4u; i += lanes_of(at)) {
        let behind = vec4<u32>(0u, 1u, 2u, 3u) + 4u * i >= vec4<u32>(blocks);
        squares += select(bitcast<vec4<f32>>(x[COLS / 16u + COLS / 32u + i]), vec4<f32>(), behind);
    }
    let sum = team_sum(vec2<f32>(squares.x + squares.y, squares.z + squares.w), at);
    return 1.0 / sqrt((sum.x + sum.y) / f32(COLS) + EPS);
}
