// MXFP4: w[i] = 2^(e − 128) · value(code[i]), a code of 4 bits. A unit is two blocks of 32 weights.
// weight_codes, for each row the first blocks of all units, then the second blocks: byte j holds code[j] (low half) and code[j + 16]
//   (high half)
// weight_exponents, the units of a row, row by row: a byte for e of the first block, one for the second

import package::lib::e2m1::e2m1_values;
import package::lib::packed::unit_dot_i8;
import package::lib::packed::unit_weights;
import package::lib::row::row_units;

@group(1) @binding(0) var<storage, read> weight_codes: array<vec4<u32>>;
@group(1) @binding(1) var<storage, read> weight_exponents: array<u32>;

const UNIT: u32 = 64u;
const OFFSET: f32 = 0.0;

struct Unit {
    first: vec4<u32>,
    second: vec4<u32>,
    scale: vec4<f32>, // of each 16
}

fn load_unit(row: u32, unit: u32) -> Unit {
    let at = row * (2u * row_units()) + unit;
    let place = row * row_units() + unit;
    let both = weight_exponents[place / 2u] >> (16u * (place % 2u));
    // A power of two whose exponent is 0 would be subnormal, which adapters may take for zero: so small a block is zero.
    let powers = bitcast<vec2<f32>>((max(vec2(both & 255u, (both >> 8u) & 255u), vec2(1u)) - 1u) << vec2(23u));
    return Unit(weight_codes[at], weight_codes[at + row_units()], powers.xxyy);
}

// Weights 4·four to 4·four + 3 of the unit.
fn unit_four(u: Unit, four: u32) -> u32 {
    let block = select(u.first, u.second, four >= 8u);
    return e2m1_values(vec4(block[four % 4u] >> (4u * (four / 4u % 2u)))).x;
}

// Weights 16·group to 16·group + 15 of the unit.
fn unit_group(u: Unit, group: u32) -> vec4<u32> {
    let block = select(u.first, u.second, group >= 2u);
    return e2m1_values(block >> vec4(4u * (group % 2u)));
}
