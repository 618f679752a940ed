// IQ4_XS: w[i] = d · scale · value(code[i]), a code of 4 bits, a scale of 6 bits for each sub-block of 32 weights. A unit is two of the 8
// sub-blocks of a block.
// weight_codes, for each row the first sub-blocks of all units, then the second ones: byte j holds code[2·j] (low half) and
//   code[2·j + 1] (high half)
// weight_headers, for each block three words: the 8 scales as int8, then d (f32)
// weight_grid: the values of each byte of two codes, as int8 in bytes 0 and 1

import package::lib::eights::unit_four;
import package::lib::packed::unit_dot_i8;
import package::lib::packed::unit_weights;
import package::lib::row::row_units;

@group(1) @binding(0) var<storage, read> weight_codes: array<vec4<u32>>;
@group(1) @binding(1) var<storage, read> weight_headers: array<u32>;
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
    let header = (row * (row_units() / 4u) + unit / 4u) * 3u;
    let scales = unpack4xI8(weight_headers[header + unit % 4u / 2u] >> (16u * (unit % 2u)));
    let d = bitcast<f32>(weight_headers[header + 2u]);
    return Unit(weight_codes[at], weight_codes[at + row_units()], d * vec4<f32>(scales.xxyy));
}

// Weights 8·eight to 8·eight + 7 of the unit, as int8.
fn unit_eight(u: Unit, eight: u32) -> vec2<u32> {
    let word = select(u.first, u.second, eight >= 4u)[eight % 4u];
    let codes = (vec4(word) >> vec4(0u, 8u, 16u, 24u)) & vec4(255u);
    return vec2(
        weight_grid[codes.x] | (weight_grid[codes.y] << 16u), weight_grid[codes.z] | (weight_grid[codes.w] << 16u),
    );
}
