// What a matvec multiplies, in f32: a value, or the twin of a normalised one (wgsl/twin/f32.wgsl).

override STRIDE: u32 = 64u;   // from a row of x to the next
override NORM: u32 = 0u;      // 1: the twin of a normalised value, whose squares follow it
override EPS: f32 = 1e-5;

@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;       // [rows, STRIDE]

struct X {
    fours: array<vec4<f32>, UNIT / 4u>,
}

fn load_x(r: u32, unit: u32) -> X {
    var loaded: X;
    let start = r * (STRIDE / 4u) + unit * (UNIT / 4u);
    for (var four = 0u; four < UNIT / 4u; four++) {
        loaded.fours[four] = x[start + four];
    }
    return loaded;
}

fn product(u: Unit, v: X) -> f32 {
    var sum = 0.0;
    for (var four = 0u; four < UNIT / 4u; four++) {
        sum += dot(unit_weights(u, four), v.fours[four]);
    }
    return sum;
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
        squares += select(x[(COLS + 15u) / 16u * 4u + i], vec4<f32>(), behind);
    }
    let sum = team_sum(vec2<f32>(squares.x + squares.y, squares.z + squares.w), at);
    return 1.0 / sqrt((sum.x + sum.y) / f32(COLS) + EPS);
}
