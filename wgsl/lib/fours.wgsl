// What a matvec multiplies in f32, a unit at a time.

struct X {
    fours: array<vec4<f32>, UNIT / 4u>,
}

fn product(u: Unit, v: X) -> f32 {
    var sum = 0.0;
    for (var four = 0u; four < UNIT / 4u; four++) {
        sum += dot(unit_weights(u, four), v.fours[four]);
    }
    return sum;
}
