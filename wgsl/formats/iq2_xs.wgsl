// IQ2_XS: w[i] = d · (scale + ½) / 4 · ±grid, a scale of 4 bits for each 16 weights. A unit is a quarter of a block.
// weight_codes[unit]: for each 8 weights 16 bits: 9 of index into the grid, 7 of signs
// weight_headers, for each block three words: the scales, 16 bits for each unit; then d (f32)
// weight_grid: 8 magnitudes for each index

import package::lib::eights::unit_four;
import package::lib::grid_signs::eighth_sign;
import package::lib::grid_signs::with_signs;
import package::lib::packed::unit_dot_i8;
import package::lib::packed::unit_weights;
import package::lib::row::row_units;

@group(1) @binding(0) var<storage, read> weight_codes: array<vec4<u32>>;
@group(1) @binding(1) var<storage, read> weight_headers: array<u32>;
@group(1) @binding(2) var<storage, read> weight_grid: array<vec2<u32>>;

const UNIT: u32 = 64u;
const OFFSET: f32 = 0.0;

struct Unit {
    codes: vec4<u32>,
    scale: vec4<f32>, // of each 16
}

fn load_unit(row: u32, unit: u32) -> Unit {
    let header = (row * (row_units() / 4u) + unit / 4u) * 3u;
    let scales = weight_headers[header + unit % 4u / 2u] >> (16u * (unit % 2u));
    let steps = (vec4(scales) >> vec4(0u, 4u, 8u, 12u)) & vec4(15u);
    let d = bitcast<f32>(weight_headers[header + 2u]);
    return Unit(weight_codes[row * row_units() + unit], d * (0.5 + vec4<f32>(steps)) * 0.25);
}

// Weights 8·eight to 8·eight + 7 of the unit, as int8.
fn unit_eight(u: Unit, eight: u32) -> vec2<u32> {
    let code = u.codes[eight / 2u] >> (16u * (eight % 2u));
    return with_signs(weight_grid[code & 511u], eighth_sign(code >> 9u));
}
