// TQ2_0 and TQ1_0: w[i] = d · (q[i] − 1), 0 ≤ q[i] ≤ 2, d for each 256 weights. A unit is a quarter of a block.
// weight_pairs[unit]: word g the q of weights 16·g to 16·g + 15: byte i holds, from its lowest bits up, those of weights i, i + 4, i + 8,
//   i + 12
// weight_scales, the blocks of a row, row by row: d (f16), the first of two in the low half

import package::lib::packed::unit_dot_i8;
import package::lib::packed::unit_weights;
import package::lib::row::row_units;

@group(1) @binding(0) var<storage, read> weight_pairs: array<vec4<u32>>;
@group(1) @binding(1) var<storage, read> weight_scales: array<u32>;

const UNIT: u32 = 64u;
const OFFSET: f32 = 1.0;

struct Unit {
    pairs: vec4<u32>,
    scale: vec4<f32>, // d
}

fn load_unit(row: u32, unit: u32) -> Unit {
    let block = row * (row_units() / 4u) + unit / 4u;
    let d = unpack2x16float(weight_scales[block / 2u]);
    return Unit(weight_pairs[row * row_units() + unit], vec4(select(d.x, d.y, block % 2u == 1u)));
}

// q of weights 4·four to 4·four + 3 of the unit.
fn unit_four(u: Unit, four: u32) -> u32 {
    return (u.pairs[four / 4u] >> (2u * (four % 4u))) & 0x03030303u;
}

// q of weights 16·group to 16·group + 15 of the unit.
fn unit_group(u: Unit, group: u32) -> vec4<u32> {
    let pairs = u.pairs[group];
    return vec4(pairs, pairs >> 2u, pairs >> 4u, pairs >> 6u) & vec4(0x03030303u);
}
