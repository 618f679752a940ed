// F16: IEEE 754 half precision. A unit is 8 weights.
// weight_halves, the units of a row, row by row: word w holds weights 2w (low half) and 2w + 1 (high half)

import package::lib::row::row_units;

@group(1) @binding(0) var<storage, read> weight_halves: array<vec4<u32>>;

const UNIT: u32 = 8u;

struct Unit {
    halves: vec4<u32>,
}

fn load_unit(row: u32, unit: u32) -> Unit {
    return Unit(weight_halves[row * row_units() + unit]);
}

// Weights 4·four to 4·four + 3 of the unit.
fn unit_weights(u: Unit, four: u32) -> vec4<f32> {
    let pairs = select(u.halves.xy, u.halves.zw, four == 1u);
    return vec4(unpack2x16float(pairs.x), unpack2x16float(pairs.y));
}
