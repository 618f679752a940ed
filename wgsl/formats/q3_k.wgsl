// Q3_K: w[i] = d · scale · (q[i] − 4), 0 ≤ q[i] ≤ 7, a scale of 6 bits for each 16 weights. A unit is four of the 16 groups of a block.
// weight_pairs[unit]: word g the low 2 bits of group g: byte i holds, from its lowest bits up, those of weights i, i + 4, i + 8, i + 12
// weight_headers, for each block 13 words: three for each unit, the third bits of its first 32 weights, of its last 32 (byte i holds,
//   from its lowest bit up, those of weights i, i + 4, i + 8 and so on), its 4 scales as int8; then d (f32)

import package::lib::packed::unit_dot_i8;
import package::lib::packed::unit_weights;
import package::lib::row::row_units;

@group(1) @binding(0) var<storage, read> weight_pairs: array<vec4<u32>>;
@group(1) @binding(1) var<storage, read> weight_headers: array<u32>;

const UNIT: u32 = 64u;
const OFFSET: f32 = 4.0;

struct Unit {
    pairs: vec4<u32>,
    bits: vec2<u32>,
    scale: vec4<f32>, // d · scale
}

fn load_unit(row: u32, unit: u32) -> Unit {
    let block = (row * (row_units() / 4u) + unit / 4u) * 13u;
    let header = block + unit % 4u * 3u;
    let scales = vec4<f32>(unpack4xI8(weight_headers[header + 2u]));
    let bits = vec2(weight_headers[header], weight_headers[header + 1u]);
    return Unit(weight_pairs[row * row_units() + unit], bits, bitcast<f32>(weight_headers[block + 12u]) * scales);
}

// q of weights 4·four to 4·four + 3 of the unit.
fn unit_four(u: Unit, four: u32) -> u32 {
    let low = (u.pairs[four / 4u] >> (2u * (four % 4u))) & 0x03030303u;
    let high = (select(u.bits.x, u.bits.y, four >= 8u) >> (four % 8u)) & 0x01010101u;
    return low | (high << 2u);
}

// q of weights 16·group to 16·group + 15 of the unit.
fn unit_group(u: Unit, group: u32) -> vec4<u32> {
    let pairs = u.pairs[group];
    let bits = select(u.bits.x, u.bits.y, group >= 2u) >> (4u * (group % 2u));
    let low = vec4(pairs, pairs >> 2u, pairs >> 4u, pairs >> 6u) & vec4(0x03030303u);
    return low | (vec4(bits << 2u, bits << 1u, bits, bits >> 1u) & vec4(0x04040404u));
}
