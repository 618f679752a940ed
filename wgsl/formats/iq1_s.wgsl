// IQ1_S: w[i] = d · (2 · scale + 1) · (grid ± ⅛), a scale of 3 bits and a sign of ⅛ for each 32 weights. A unit is a quarter of a block;
// its int8 are 8 times the last factor.
// weight_codes[unit]: the low 8 bits of its 8 indices into the grid
// weight_headers, for each block five words: one for each unit, for each 32 weights 16 bits: four times the high 3 bits of an index,
//   the scale, 1 for −⅛; then d (f32)
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
    let block = (row * (row_units() / 4u) + unit / 4u) * 5u;
    let high = weight_headers[block + unit % 4u];
    let steps = (vec4(high) >> vec4(12u, 12u, 28u, 28u)) & vec4(7u);
    let d = bitcast<f32>(weight_headers[block + 4u]);
    return Unit(weight_codes[row * row_units() + unit], high, d * vec4<f32>(2u * steps + 1u) * 0.125);
}

// 8 times weights 8·eight to 8·eight + 7 of the unit, as int8.
fn unit_eight(u: Unit, eight: u32) -> vec2<u32> {
    let low = (u.codes[eight / 4u] >> (8u * (eight % 4u))) & 255u;
    let half = u.high >> (16u * (eight / 4u));
    let high = (half >> (3u * (eight % 4u))) & 7u;
    return moved(weight_grid[low | (high << 8u)], (half & 0x8000u) != 0u);
}
