// IQ2_S: w[i] = d · (scale + ½) / 4 · ±grid, a scale of 4 bits for each 16 weights. A unit is a quarter of a block.
// weight_codes[unit]: the low 8 bits of its 8 indices into the grid; its signs, a bit for each weight
// weight_headers, for each block five words: one for each unit, the high 2 bits of its indices (low half) and its scales (high half);
//   then d (f32)
// weight_grid: 8 magnitudes for each index

import package::lib::eights::unit_four;
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
    high: u32,
    scale: vec4<f32>, // of each 16
}

fn load_unit(row: u32, unit: u32) -> Unit {
    let block = (row * (row_units() / 4u) + unit / 4u) * 5u;
    let header = weight_headers[block + unit % 4u];
    let steps = (vec4(header) >> vec4(16u, 20u, 24u, 28u)) & vec4(15u);
    let d = bitcast<f32>(weight_headers[block + 4u]);
    return Unit(weight_codes[row * row_units() + unit], header, d * (0.5 + vec4<f32>(steps)) * 0.25);
}

// Weights 8·eight to 8·eight + 7 of the unit, as int8.
fn unit_eight(u: Unit, eight: u32) -> vec2<u32> {
    let codes = select(u.codes.xz, u.codes.yw, eight >= 4u) >> vec2(8u * (eight % 4u));
    let high = (u.high >> (2u * eight)) & 3u;
    return with_signs(weight_grid[(codes.x & 255u) | (high << 8u)], codes.y);
}
