// Q4_K: w[i] = d · scale · q[i] − dmin · minimum, 0 ≤ q[i] ≤ 15, scale and minimum 6 bits for each sub-block of 32 weights.
// A unit is two of the 8 sub-blocks of a block.
// weight_quants, for each row the first sub-blocks of all units, then the second ones: byte j holds q[j] (low half) and
//   q[j + 16] − 8 in two's complement (high half): with the low half masked off that is 16 · (q − 8), without a shift
// weight_headers, for each block five words: one for each unit, bytes 0–1 its scales, bytes 2–3 its minimums;
//   then d (f16, low half) and dmin (f16, high half)

import package::lib::nibbles::floats_above_128;
import package::lib::quants::Quants;
import package::lib::quants::dot16_i8_added;
import package::lib::row::row_units;

@group(1) @binding(0) var<storage, read> weight_quants: array<vec4<u32>>;
@group(1) @binding(1) var<storage, read> weight_headers: array<u32>;

const UNIT: u32 = 64u;
const LOW_BITS: u32 = 0x0f0f0f0fu;

struct Unit {
    first: vec4<u32>,
    second: vec4<u32>,
    scale: vec2<f32>,   // d · scale
    minimum: vec2<f32>, // dmin · minimum
}

fn load_unit(row: u32, unit: u32) -> Unit {
    let at = row * (2u * row_units()) + unit;
    let header = (row * (row_units() / 4u) + unit / 4u) * 5u;
    let steps = vec4<f32>(unpack4xU8(weight_headers[header + unit % 4u]));
    let d = unpack2x16float(weight_headers[header + 4u]);
    return Unit(weight_quants[at], weight_quants[at + row_units()], d.x * steps.xy, d.y * steps.zw);
}

// 128 more than q of weights 4·four to 4·four + 3 of the unit.
fn quants_above_128(u: Unit, four: u32) -> vec4<f32> {
    let block = select(u.first, u.second, four >= 8u);
    return floats_above_128(block[four % 4u], four / 4u % 2u == 1u);
}

// Weights 4·four to 4·four + 3 of the unit.
fn unit_weights(u: Unit, four: u32) -> vec4<f32> {
    let q = quants_above_128(u, four);
    let s = four / 8u;
    return u.scale[s] * (q - 128.0) - u.minimum[s];
}

// The same for a tile in f16, which rounds by more than this does: the scale has 17 bits, and times 128 and more it is rounded.
fn f16_weights(u: Unit, four: u32) -> vec4<f32> {
    let q = quants_above_128(u, four);
    let s = four / 8u;
    return u.scale[s] * q - (128.0 * u.scale[s] + u.minimum[s]);
}

// Σ w[i] · x[i] over the unit.
fn unit_dot_i8(u: Unit, x: Quants) -> f32 {
    let low = vec2<f32>(dot16_i8_added(u.first & vec4(LOW_BITS), x.q0), dot16_i8_added(u.second & vec4(LOW_BITS), x.q2));
    let high = vec2<f32>(dot16_i8_added(u.first & ~vec4(LOW_BITS), x.q1), dot16_i8_added(u.second & ~vec4(LOW_BITS), x.q3));
    let products = x.scale.xz * low + (x.scale.yw / 16.0 * high + 8.0 * x.sum.yw);
    return dot(u.scale, products) - dot(u.minimum, x.sum.xz + x.sum.yw);
}
