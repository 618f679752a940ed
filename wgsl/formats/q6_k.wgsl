// Q6_K: w[i] = d · scale · (q[i] − 32), 0 ≤ q[i] ≤ 63, an int8 scale for each 16 weights.
// A unit is 32 weights, s of the 8 units of a block.
// weight_low[unit]: the low 4 bits of q: byte j holds those of q[j] (low half) and of q[j + 16] (high half)
// weight_high[unit]: the high 2 bits of q, word 0 of q[0..16], word 1 of q[16..32]: byte i of a word holds, from its
//   lowest bits up, those of q[i], q[i + 4], q[i + 8], q[i + 12] of its 16, so that one shift and one mask place a four
// weight_scales[5 · block ..]: words 0–3 the 16 scales as int8, the first in the lowest byte; word 4 d (f32)

import package::lib::quants::Quants;
import package::lib::quants::dot16_i8;

@group(1) @binding(0) var<storage, read> weight_low: array<vec4<u32>>;
@group(1) @binding(1) var<storage, read> weight_high: array<vec2<u32>>;
@group(1) @binding(2) var<storage, read> weight_scales: array<u32>;

const UNIT: u32 = 32u;
const LOW_BITS: u32 = 0x0f0f0f0fu;
const TWO_BITS: u32 = 0x30303030u;

struct Unit {
    low: vec4<u32>,
    high: vec2<u32>,
    scale: vec2<f32>, // d · scale of weights 0–15, of weights 16–31
}

fn load_unit(unit: u32) -> Unit {
    let block = unit / 8u * 5u;
    let s = unit % 8u;
    let pair = unpack4xI8(weight_scales[block + s / 2u] >> (16u * (s % 2u))).xy;
    return Unit(weight_low[unit], weight_high[unit], bitcast<f32>(weight_scales[block + 4u]) * vec2<f32>(pair));
}

// Weights 4·four to 4·four + 3 of the unit.
fn unit_weights(u: Unit, four: u32) -> vec4<f32> {
    let lows = (u.low[four % 4u] >> (four / 4u * 4u)) & LOW_BITS;
    let highs = select(u.high.x, u.high.y, four >= 4u) >> (four % 4u * 2u);
    let q = unpack4xU8(lows | ((highs << 4u) & TWO_BITS));
    return select(u.scale.x, u.scale.y, four >= 4u) * (vec4<f32>(q) - 32.0);
}

// Σ w[i] · x[i] over the unit.
fn unit_dot_i8(u: Unit, x: Quants) -> f32 {
    let lo = (u.low & vec4(LOW_BITS)) | high_bits(u.high.x);
    let hi = ((u.low >> vec4(4u)) & vec4(LOW_BITS)) | high_bits(u.high.y);
    return u.scale.x * (x.scale.x * f32(dot16_i8(lo, x.lo)) - 32.0 * x.sum.x)
         + u.scale.y * (x.scale.y * f32(dot16_i8(hi, x.hi)) - 32.0 * x.sum.y);
}

// The high bits of 16 weights in bits 4 and 5 of each byte.
fn high_bits(pairs: u32) -> vec4<u32> {
    return vec4(pairs << 4u, pairs << 2u, pairs, pairs >> 2u) & vec4(TWO_BITS);
}
