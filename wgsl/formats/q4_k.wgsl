// Q4_K: w[i] = d · scale · q[i] − dmin · minimum, 0 ≤ q[i] ≤ 15, scale and minimum 6 bits.
// A unit is a sub-block s of 32 weights, one of the 8 of a block.
// weight_quants[unit]: byte j holds q[j] (low half) and q[j + 16] (high half)
// weight_headers[unit / 8], one for each block:
//   word 0  d (f16, low half) and dmin (f16, high half)
//   word 1  the low 4 bits of the scales, of sub-block s from bit 4s
//   word 2  the low 4 bits of the minimums, of sub-block s from bit 4s
//   word 3  the high 2 bits: of scale s from bit 2s, of minimum s from bit 16 + 2s

import package::lib::quants::Quants;
import package::lib::quants::dot32_i8;

@group(1) @binding(0) var<storage, read> weight_quants: array<vec4<u32>>;
@group(1) @binding(1) var<storage, read> weight_headers: array<vec4<u32>>;

const UNIT: u32 = 32u;
const LOW_BITS: u32 = 0x0f0f0f0fu;

struct Unit {
    quants: vec4<u32>,
    scale: f32,   // d · scale
    minimum: f32, // dmin · minimum
}

fn load_unit(unit: u32) -> Unit {
    let header = weight_headers[unit / 8u];
    let s = unit % 8u;
    let low = (header.yz >> vec2(4u * s)) & vec2(15u);
    let high = (header.ww >> vec2(2u * s, 2u * s + 16u)) & vec2(3u);
    let steps = unpack2x16float(header.x) * vec2<f32>(low | (high << vec2(4u)));
    return Unit(weight_quants[unit], steps.x, steps.y);
}

// Weights 4·four to 4·four + 3 of the unit.
fn unit_weights(u: Unit, four: u32) -> vec4<f32> {
    let q = unpack4xU8((u.quants[four % 4u] >> (four / 4u * 4u)) & LOW_BITS);
    return u.scale * vec4<f32>(q) - u.minimum;
}

// Σ w[i] · x[i] over the unit.
fn unit_dot_i8(u: Unit, x: Quants) -> f32 {
    let lo = u.quants & vec4(LOW_BITS);
    let hi = (u.quants >> vec4(4u)) & vec4(LOW_BITS);
    return u.scale * dot32_i8(lo, hi, x) - u.minimum * (x.sum.x + x.sum.y);
}
