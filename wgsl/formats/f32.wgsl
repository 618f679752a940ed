// F32: plain 32-bit floats. A unit is 4 weights.
// weight_fours, the units of a row, row by row: weights 0–3 of the unit

import package::lib::row::row_units;

@group(1) @binding(0) var<storage, read> weight_fours: array<vec4<f32>>;

const UNIT: u32 = 4u;

struct Unit {
    weights: vec4<f32>,
}

fn load_unit(row: u32, unit: u32) -> Unit {
    return Unit(weight_fours[row * row_units() + unit]);
}

// Weights 4·four to 4·four + 3 of the unit.
fn unit_weights(u: Unit, four: u32) -> vec4<f32> {
    return u.weights;
}
