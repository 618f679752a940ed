// IQ2_XXS: w[i] = d · (scale + ½) / 4 · ±grid, a scale of 4 bits for each 32 weights. A unit is a quarter of a block.
// weight_codes[unit]: for each 32 weights two words: four indices into the grid, a byte each; four times 7 bits of signs and 4 of scale
// weight_scales, the blocks of a row, row by row: d (f16), the first of two in the low half
// weight_grid: 8 magnitudes for each index

import package::lib::eights::unit_four;
import package::lib::grid_signs::eighth_sign;
import package::lib::grid_signs::with_signs;
import package::lib::packed::unit_dot_i8;
import package::lib::packed::unit_weights;
import package::lib::row::row_units;

@group(1) @binding(0) var<storage, read> weight_codes: array<vec4<u32>>;
@group(1) @binding(1) var<storage, read> weight_scales: array<u32>;
@group(1) @binding(2) var<storage, read> weight_grid: array<vec2<u32>>;

const UNIT: u32 = 64u;
const OFFSET: f32 = 0.0;

struct Unit {
    codes: vec4<u32>,
    scale: vec4<f32>, // of each 16
}

fn load_unit(row: u32, unit: u32) -> Unit {
    let block = row * (row_units() / 4u) + unit / 4u;
    let pair = unpack2x16float(weight_scales[block / 2u]);
    let d = select(pair.x, pair.y, block % 2u == 1u);
    let codes = weight_codes[row * row_units() + unit];
    return Unit(codes, d * (0.5 + vec4<f32>(codes.yyww >> vec4(28u))) * 0.25);
}

// Weights 8·eight to 8·eight + 7 of the unit, as int8.
fn unit_eight(u: Unit, eight: u32) -> vec2<u32> {
    let codes = select(u.codes.xy, u.codes.zw, eight >= 4u);
    let e = eight % 4u;
    return with_signs(weight_grid[(codes.x >> (8u * e)) & 255u], eighth_sign(codes.y >> (7u * e)));
}
