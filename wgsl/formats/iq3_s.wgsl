// IQ3_S: w[i] = d · (2 · scale + 1) · ±grid, a scale of 4 bits for each 32 weights. A unit is a quarter of a block.
// weight_codes[unit]: the low 8 bits of its 16 indices into the grid
// weight_headers, for each block 13 words: three for each unit, the signs of its first 32 weights, of its last 32, the highest bits of its
//   indices (low half) and its two scales (bits 16 to 23); then d (f32)
// weight_grid: 4 magnitudes for each index

import package::lib::eights::unit_four;
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
    high: u32,
    scale: vec4<f32>, // of each 16
}

fn load_unit(row: u32, unit: u32) -> Unit {
    let block = (row * (row_units() / 4u) + unit / 4u) * 13u;
    let header = block + 3u * (unit % 4u);
    let signs = vec2(weight_headers[header], weight_headers[header + 1u]);
    let high = weight_headers[header + 2u];
    let steps = (vec4(high) >> vec4(16u, 16u, 20u, 20u)) & vec4(15u);
    let d = bitcast<f32>(weight_headers[block + 12u]);
    return Unit(weight_codes[row * row_units() + unit], signs, high, d * vec4<f32>(2u * steps + 1u));
}

// Weights 8·eight to 8·eight + 7 of the unit, as int8.
fn unit_eight(u: Unit, eight: u32) -> vec2<u32> {
    let codes = u.codes[eight / 2u] >> (16u * (eight % 2u));
    let high = (u.high >> (2u * eight)) << 8u;
    let magnitudes = vec2(
        weight_grid[(codes & 255u) | (high & 256u)], weight_grid[((codes >> 8u) & 255u) | ((high >> 1u) & 256u)],
    );
    return with_signs(magnitudes, select(u.signs.x, u.signs.y, eight >= 4u) >> (8u * (eight % 4u)));
}
