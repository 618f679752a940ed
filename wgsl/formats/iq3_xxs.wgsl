// IQ3_XXS: w[i] = d · (scale + ½) / 2 · ±grid, a scale of 4 bits for each 32 weights. A unit is a quarter of a block.
// weight_codes[unit]: 16 indices into the grid, a byte each
// weight_headers, for each block nine words: two for each unit, for each 32 weights four times 7 bits of signs and 4 of scale; then
//   d (f32)
// weight_grid: 4 magnitudes for each index

import package::lib::eights::unit_four;
import package::lib::grid_signs::eighth_sign;
import package::lib::grid_signs::with_signs;
import package::lib::packed::unit_dot_i8;
import package::lib::packed::unit_weights;
import package::lib::row::row_units;

@group(1) @binding(0) var<storage, read> weight_codes: array<vec4<u32>>;
@group(1) @binding(1) var<storage, read> weight_headers: array<u32>;
@group(1) @binding(2) var<storage, read> weight_grid: array<u32>;

const UNIT: u32 = 64u;
const OFFSET: f32 = 0.0;

struct Unit {
    codes: vec4<u32>,
    signs: vec2<u32>,
    scale: vec4<f32>, // of each 16
}

fn load_unit(row: u32, unit: u32) -> Unit {
    let block = (row * (row_units() / 4u) + unit / 4u) * 9u;
    let header = block + 2u * (unit % 4u);
    let signs = vec2(weight_headers[header], weight_headers[header + 1u]);
    let d = bitcast<f32>(weight_headers[block + 8u]);
    let scale = d * (0.5 + vec4<f32>(signs.xxyy >> vec4(28u))) * 0.5;
    return Unit(weight_codes[row * row_units() + unit], signs, scale);
}

// Weights 8·eight to 8·eight + 7 of the unit, as int8.
fn unit_eight(u: Unit, eight: u32) -> vec2<u32> {
    let codes = u.codes[eight / 2u] >> (16u * (eight % 2u));
    let magnitudes = vec2(weight_grid[codes & 255u], weight_grid[(codes >> 8u) & 255u]);
    return with_signs(magnitudes, eighth_sign(select(u.signs.x, u.signs.y, eight >= 4u) >> (7u * (eight % 4u))));
}
