// A unit of 64 weights that a format gives as int8, four to a u32 (`unit_four`, and `unit_group` 16 of them), with a scale for each 16
// (`scale` of `Unit`): w[i] = scale[i / 16] · (q[i] − OFFSET).

import package::lib::bytes::floats_i8;
import package::lib::quants::Quants;
import package::lib::quants::dot16_i8;
import package::weight::OFFSET;
import package::weight::Unit;

// Weights 4·four to 4·four + 3 of the unit.
fn unit_weights(u: Unit, four: u32) -> vec4<f32> {
    return u.scale[four / 4u] * (floats_i8(unit_four(u, four)) - OFFSET);
}

// Σ w[i] · x[i] over the unit.
fn unit_dot_i8(u: Unit, x: Quants) -> f32 {
    var products = x.scale * vec4<f32>(
        dot16_i8(unit_group(u, 0u), x.q0),
        dot16_i8(unit_group(u, 1u), x.q1),
        dot16_i8(unit_group(u, 2u), x.q2),
        dot16_i8(unit_group(u, 3u), x.q3),
    );
    if (OFFSET != 0.0) {
        products -= OFFSET * x.sum;
    }
    return dot(u.scale, products);
}
