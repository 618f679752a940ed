// Q8_0: w[i] = d · q[i], −128 ≤ q[i] ≤ 127. A unit is a block of 32 weights.
// weight_quants[2 · unit], weight_quants[2 · unit + 1]: q[0..16], q[16..32] as int8, the first in the lowest byte
// weight_scales[unit / 2]: d (f16) of an even unit in the low half, of an odd unit in the high half

import package::lib::quants::Quants;
import package::lib::quants::dot32_i8;

@group(1) @binding(0) var<storage, read> weight_quants: array<vec4<u32>>;
@group(1) @binding(1) var<storage, read> weight_scales: array<u32>;

const UNIT: u32 = 32u;

struct Unit {
    lo: vec4<u32>,
    hi: vec4<u32>,
    d: f32,
}

fn load_unit(unit: u32) -> Unit {
    let d = unpack2x16float(weight_scales[unit / 2u] >> (16u * (unit % 2u))).x;
    return Unit(weight_quants[2u * unit], weight_quants[2u * unit + 1u], d);
}

// Weights 4·four to 4·four + 3 of the unit.
fn unit_weights(u: Unit, four: u32) -> vec4<f32> {
    let half = select(u.lo, u.hi, four >= 4u);
    return u.d * vec4<f32>(unpack4xI8(half[four % 4u]));
}

// Σ w[i] · x[i] over the unit.
fn unit_dot_i8(u: Unit, x: Quants) -> f32 {
    return u.d * dot32_i8(u.lo, u.hi, x);
}
