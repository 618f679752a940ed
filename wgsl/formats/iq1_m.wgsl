// IQ1_M: w[i] = d · (2 · scale + 1) · (grid ± ⅛), a scale of 3 bits for each 16 weights, a sign of ⅛ for each 8. A unit is a quarter of a
// block; its int8 are 8 times the last factor.
// weight_codes[unit]: the low 8 bits of its 8 indices into the grid
// weight_headers, for each block seven words: one for each unit, 4 bits for each 8 weights: the high 3 bits of the index, 1 for −⅛; then
//   the scales, 16 bits for each unit, of which 12 count; then d (f32)
// weight_grid: 8 · (weight + 1) of 8 weights for each index

import package::lib::eights::unit_four;
import package::lib::iq1::moved;
import package::lib::packed::unit_dot_i8;
import package::lib::packed::unit_weights;
import package::lib::row::row_units;

@group(1) @binding(0) var<storage, read> weight_codes: array<vec2<u32>>;
@group(1) @binding(1) var<storage, read> weight_headers: array<u32>;
@group(1) @binding(2) var<storage, read> weight_grid: array<vec2<u32>>;

const UNIT: u32 = 64u;
const OFFSET: f32 = 0.0;

struct Unit {
    codes: vec2<u32>,
    high: u32,
    scale: vec4<f32>, // of each 16
}

fn load_unit(row: u32, unit: u32) -> Unit {
    let block = (row * (row_units() / 4u) + unit / 4u) * 7u;
    let scales = weight_headers[block + 4u + unit % 4u / 2u] >> (16u * (unit % 2u));
    let steps = (vec4(scales) >> vec4(0u, 3u, 6u, 9u)) & vec4(7u);
    let d = bitcast<f32>(weight_headers[block + 6u]);
    let scale = d * vec4<f32>(2u * steps + 1u) * 0.125;
    return Unit(weight_codes[row * row_units() + unit], weight_headers[block + unit % 4u], scale);
}

// 8 times weights 8·eight to 8·eight + 7 of the unit, as int8.
fn unit_eight(u: Unit, eight: u32) -> vec2<u32> {
    let low = (u.codes[eight / 4u] >> (8u * (eight % 4u))) & 255u;
    let high = u.high >> (4u * eight);
    return moved(weight_grid[low | ((high & 7u) << 8u)], (high & 8u) != 0u);
}
