// Q4_1: w[i] = d · q[i] + m, 0 ≤ q[i] ≤ 15. A unit is two blocks of 32 weights.
// weight_quants, for each row the first blocks of all units, then the second blocks: byte j holds q[j] (low half) and
//   q[j + 16] − 8 in two's complement (high half): with the low half masked off that is 16 · (q − 8), without a shift
// weight_scales[unit]: for each block d (f16, low half) and m (f16, high half)

import package::lib::bytes::floats_u8;
import package::lib::quants::Quants;
import package::lib::quants::dot16_i8;
import package::lib::row::row_units;

@group(1) @binding(0) var<storage, read> weight_quants: array<vec4<u32>>;
@group(1) @binding(1) var<storage, read> weight_scales: array<vec2<u32>>;

const UNIT: u32 = 64u;
const LOW_BITS: u32 = 0x0f0f0f0fu;

struct Unit {
    first: vec4<u32>,
    second: vec4<u32>,
    d: vec2<f32>,
    m: vec2<f32>,
}

fn load_unit(row: u32, unit: u32) -> Unit {
    let at = row * (2u * row_units()) + unit;
    let scales = weight_scales[row * row_units() + unit];
    let first = unpack2x16float(scales.x);
    let second = unpack2x16float(scales.y);
    return Unit(weight_quants[at], weight_quants[at + row_units()], vec2(first.x, second.x), vec2(first.y, second.y));
}

// Weights 4·four to 4·four + 3 of the unit.
fn unit_weights(u: Unit, four: u32) -> vec4<f32> {
    let block = select(u.first, u.second, four >= 8u);
    let high = four / 4u % 2u;
    let q = floats_u8(((block[four % 4u] >> (4u * high)) & LOW_BITS) ^ (high * 0x08080808u));
    let s = four / 8u;
    return u.d[s] * q + u.m[s];
}

// Σ w[i] · x[i] over the unit.
fn unit_dot_i8(u: Unit, x: Quants) -> f32 {
    let low = vec2<f32>(dot16_i8(u.first & vec4(LOW_BITS), x.q0), dot16_i8(u.second & vec4(LOW_BITS), x.q2));
    let high = vec2<f32>(dot16_i8(u.first & ~vec4(LOW_BITS), x.q1), dot16_i8(u.second & ~vec4(LOW_BITS), x.q3));
    let products = x.scale.xz * low + (x.scale.yw / 16.0 * high + 8.0 * x.sum.yw);
    return dot(u.d, products) + dot(u.m, x.sum.xz + x.sum.yw);
}
