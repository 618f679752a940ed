// Q5_0: w[i] = d · (q[i] − 16), 0 ≤ q[i] ≤ 31. A unit is two blocks of 32 weights.
// weight_quants, for each row the first blocks of all units, then the second blocks: nibbles as in lib/five_bits.wgsl
// weight_headers, for each unit three words: the other bits of the first block, of the second one; then d (f16) of the first block in
//   the low half, of the second in the high half

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
    d: vec2<f32>,
}

fn load_unit(row: u32, unit: u32) -> Unit {
    let at = row * (2u * row_units()) + unit;
    let header = (row * row_units() + unit) * 3u;
    let bits = vec2(weight_headers[header], weight_headers[header + 1u]);
    let d = unpack2x16float(weight_headers[header + 2u]);
    return Unit(weight_quants[at], weight_quants[at + row_units()], bits, d);
}

// Weights 4·four to 4·four + 3 of the unit.
fn unit_weights(u: Unit, four: u32) -> vec4<f32> {
    let second = four >= 8u;
    let q = five_bits(select(u.first, u.second, second), select(u.bits.x, u.bits.y, second), four % 8u);
    return select(u.d.x, u.d.y, second) * (floats_u8(q) - 16.0);
}

// Σ w[i] · x[i] over the unit.
fn unit_dot_i8(u: Unit, x: Quants) -> f32 {
    let low = vec2<f32>(
        dot16_i8(five_bits_low(u.first, u.bits.x), x.q0), dot16_i8(five_bits_low(u.second, u.bits.y), x.q2),
    );
    let high = vec2<f32>(
        dot16_i8(five_bits_high(u.first, u.bits.x), x.q1), dot16_i8(five_bits_high(u.second, u.bits.y), x.q3),
    );
    return dot(u.d, x.scale.xz * low - 16.0 * x.sum.xz + x.scale.yw / 8.0 * high);
}
