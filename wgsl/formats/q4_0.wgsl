// Q4_0: w[i] = d · (q[i] − 8), 0 ≤ q[i] ≤ 15. A unit is two blocks of 32 weights.
// weight_quants, for each row the first blocks of all units, then the second blocks: byte j holds q[j] (low half) and
//   q[j + 16] − 8 in two's complement (high half): with the low half masked off that is 16 · (q − 8), without a shift
// weight_scales[unit]: d (f16) of the first block in the low half, of the second in the high half

import package::lib::nibbles::floats_above_128;
import package::lib::quants::Quants;
import package::lib::quants::dot16_i8;
import package::lib::row::row_units;

@group(1) @binding(0) var<storage, read> weight_quants: array<vec4<u32>>;
@group(1) @binding(1) var<storage, read> weight_scales: array<u32>;

const UNIT: u32 = 64u;
const LOW_BITS: u32 = 0x0f0f0f0fu;

struct Unit {
    first: vec4<u32>,
    second: vec4<u32>,
    d: vec2<f32>,
}

fn load_unit(row: u32, unit: u32) -> Unit {
    let at = row * (2u * row_units()) + unit;
    let d = unpack2x16float(weight_scales[row * row_units() + unit]);
    return Unit(weight_quants[at], weight_quants[at + row_units()], d);
}

// Weights 4·four to 4·four + 3 of the unit.
fn unit_weights(u: Unit, four: u32) -> vec4<f32> {
    let block = select(u.first, u.second, four >= 8u);
    let q = floats_above_128(block[four % 4u], four / 4u % 2u == 1u);
    let d = select(u.d.x, u.d.y, four >= 8u);
    return d * q - 136.0 * d;
}

// Σ w[i] · x[i] over the unit.
fn unit_dot_i8(u: Unit, x: Quants) -> f32 {
    let low = vec2<f32>(dot16_i8(u.first & vec4(LOW_BITS), x.q0), dot16_i8(u.second & vec4(LOW_BITS), x.q2));
    let high = vec2<f32>(dot16_i8(u.first & ~vec4(LOW_BITS), x.q1), dot16_i8(u.second & ~vec4(LOW_BITS), x.q3));
    return dot(u.d, x.scale.xz * low - 8.0 * x.sum.xz + x.scale.yw / 16.0 * high);
}
