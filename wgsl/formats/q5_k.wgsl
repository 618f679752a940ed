// Q5_K: w[i] = d · scale · q[i] − dmin · minimum, 0 ≤ q[i] ≤ 31, scale and minimum 6 bits for each sub-block of 32 weights. A unit is two
// of the 8 sub-blocks of a block.
// weight_quants, for each row the first sub-blocks of all units, then the second ones: nibbles as in lib/five_bits.wgsl
// weight_headers, for each block 13 words: three for each unit, the other bits of its first sub-block, of its second one, bytes 0–1 its
//   scales and bytes 2–3 its minimums; then d (f16, low half) and dmin (f16, high half)

import package::lib::bytes::floats_u8;
import package::lib::five_bits::five_bits;
import package::lib::quants::Quants;
import package::lib::quants::dot16_i8;
import package::lib::row::row_units;

@group(1) @binding(0) var<storage, read> weight_quants: array<vec4<u32>>;
@group(1) @binding(1) var<storage, read> weight_headers: array<u32>;

const UNIT: u32 = 64u;

struct Unit {
    first: vec4<u32>,
    second: vec4<u32>,
    bits: vec2<u32>,
    scale: vec2<f32>,   // d · scale
    minimum: vec2<f32>, // dmin · minimum
}

fn load_unit(row: u32, unit: u32) -> Unit {
    let at = row * (2u * row_units()) + unit;
    let block = (row * (row_units() / 4u) + unit / 4u) * 13u;
    let header = block + unit % 4u * 3u;
    let steps = vec4<f32>(unpack4xU8(weight_headers[header + 2u]));
    let d = unpack2x16float(weight_headers[block + 12u]);
    return Unit(
        weight_quants[at],
        weight_quants[at + row_units()],
        vec2(weight_headers[header], weight_headers[header + 1u]),
        d.x * steps.xy,
        d.y * steps.zw,
    );
}

// Weights 4·four to 4·four + 3 of the unit.
fn unit_weights(u: Unit, four: u32) -> vec4<f32> {
    let second = four >= 8u;
    let q = five_bits(select(u.first, u.second, second), select(u.bits.x, u.bits.y, second), four % 8u);
    return select(u.scale.x, u.scale.y, second) * floats_u8(q) - select(u.minimum.x, u.minimum.y, second);
}

// Σ w[i] · x[i] over the unit.
fn unit_dot_i8(u: Unit, x: Quants) -> f32 {
    let low = vec2<f32>(
        dot16_i8(five_bits_low(u.first, u.bits.x), x.q0), dot16_i8(five_bits_low(u.second, u.bits.y), x.q2),
    );
    let high = vec2<f32>(
        dot16_i8(five_bits_high(u.first, u.bits.x), x.q1), dot16_i8(five_bits_high(u.second, u.bits.y), x.q3),
    );
    let products = x.scale.xz * low + (x.scale.yw / 8.0 * high + 16.0 * x.sum.yw);
    return dot(u.scale, products) - dot(u.minimum, x.sum.xz + x.sum.yw);
}
