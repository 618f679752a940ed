// F32: plain 32-bit floats. A unit is 4 weights.
// weight_fours[unit]: weights 0–3 of the unit

@group(1) @binding(0) var<storage, read> weight_fours: array<vec4<f32>>;

const UNIT: u32 = 4u;

struct Unit {
    weights: vec4<f32>,
}

fn load_unit(unit: u32) -> Unit {
    return Unit(weight_fours[unit]);
}

// Weights 4·four to 4·four + 3 of the unit.
fn unit_weights(u: Unit, four: u32) -> vec4<f32> {
    return u.weights;
}
