// Q4_0: w[i] = d · (q[i] − 8), 0 ≤ q[i] ≤ 15. A unit is a block of 32 weights.
// weight_quants[unit]: byte j holds q[j] (low half) and q[j + 16] (high half)
// weight_scales[unit / 2]: d (f16) of an even unit in the low half, of an odd unit in the high half

import package::lib::quants::Quants;
import package::lib::quants::dot32_i8;

@group(1) @binding(0) var<storage, read> weight_quants: array<vec4<u32>>;
@group(1) @binding(1) var<storage, read> weight_scales: array<u32>;

const UNIT: u32 = 32u;
const LOW_BITS: u32 = 0x0f0f0f0fu;

struct Unit {
    quants: vec4<u32>,
    d: f32,
}

fn load_unit(unit: u32) -> Unit {
    let d = unpack2x16float(weight_scales[unit / 2u] >> (16u * (unit % 2u))).x;
    return Unit(weight_quants[unit], d);
}

// Weights 4·four to 4·four + 3 of the unit.
fn unit_weights(u: Unit, four: u32) -> vec4<f32> {
    let q = unpack4xU8((u.quants[four % 4u] >> (four / 4u * 4u)) & LOW_BITS);
    return u.d * (vec4<f32>(q) - 8.0);
}

// Σ w[i] · x[i] over the unit.
fn unit_dot_i8(u: Unit, x: Quants) -> f32 {
    let lo = u.quants & vec4(LOW_BITS);
    let hi = (u.quants >> vec4(4u)) & vec4(LOW_BITS);
    return u.d * (dot32_i8(lo, hi, x) - 8.0 * (x.sum.x + x.sum.y));
}
