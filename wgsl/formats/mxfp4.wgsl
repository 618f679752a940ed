// MXFP4: w[i] = 2^(e − 128) · value[i], twice a float of 4 bits. A unit is two blocks of 32 weights.
// weight_codes, for each row the first blocks of all units, then the second blocks, as lib/e2m1.wgsl says
// weight_exponents, the units of a row, row by row: a byte for e of the first block, one for the second

import package::lib::e2m1::unit_dot_i8;
import package::lib::e2m1::unit_weights;
import package::lib::row::row_units;

@group(1) @binding(0) var<storage, read> weight_codes: array<vec4<u32>>;
@group(1) @binding(1) var<storage, read> weight_exponents: array<u32>;

const UNIT: u32 = 64u;

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
