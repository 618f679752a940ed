// IQ4_NL: w[i] = d · value(code[i]), a code of 4 bits. A unit is two blocks of 32 weights.
// weight_codes, for each row the first blocks of all units, then the second blocks: byte j holds code[2·j] (low half) and
//   code[2·j + 1] (high half)
// weight_scales[unit]: d (f16) of the first block in the low half, of the second in the high half
// weight_grid: the values of each byte of two codes, as int8 in bytes 0 and 1

import package::lib::eights::unit_four;
import package::lib::packed::unit_dot_i8;
import package::lib::packed::unit_weights;
import package::lib::row::row_units;

@group(1) @binding(0) var<storage, read> weight_codes: array<vec4<u32>>;
@group(1) @binding(1) var<storage, read> weight_scales: array<u32>;
@group(1) @binding(2) var<storage, read> weight_grid: array<u32>;

const UNIT: u32 = 64u;
const OFFSET: f32 = 0.0;

struct Unit {
    first: vec4<u32>,
    second: vec4<u32>,
    scale: vec4<f32>, // of each 16
}

fn load_unit(row: u32, unit: u32) -> Unit {
    let at = row * (2u * row_units()) + unit;
    let d = unpack2x16float(weight_scales[row * row_units() + unit]);
    return Unit(weight_codes[at], weight_codes[at + row_units()], d.xxyy);
}

// Weights 8·eight to 8·eight + 7 of the unit, as int8.
fn unit_eight(u: Unit, eight: u32) -> vec2<u32> {
    let word = select(u.first, u.second, eight >= 4u)[eight % 4u];
    let codes = (vec4(word) >> vec4(0u, 8u, 16u, 24u)) & vec4(255u);
    return vec2(
        weight_grid[codes.x] | (weight_grid[codes.y] << 16u), weight_grid[codes.z] | (weight_grid[codes.w] << 16u),
    );
}
