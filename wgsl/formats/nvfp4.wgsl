// NVFP4: w[i] = d / 2 · value(code[i]), a code of 4 bits, d an unsigned float of 8 bits (E4M3) for each 16 weights. A unit is a block of
// 64 weights.
// weight_codes, for each row the first 32 weights of all units, then the second 32: byte j holds code[j] (low half) and code[j + 16]
//   (high half)
// weight_scales[unit]: a byte for the d of each 16 weights

import package::lib::e2m1::e2m1_values;
import package::lib::packed::unit_dot_i8;
import package::lib::packed::unit_weights;
import package::lib::row::row_units;

@group(1) @binding(0) var<storage, read> weight_codes: array<vec4<u32>>;
@group(1) @binding(1) var<storage, read> weight_scales: array<u32>;

const UNIT: u32 = 64u;
const OFFSET: f32 = 0.0;

struct Unit {
    first: vec4<u32>,
    second: vec4<u32>,
    scale: vec4<f32>, // of each 16
}

fn load_unit(row: u32, unit: u32) -> Unit {
    let at = row * (2u * row_units()) + unit;
    let d = vec4<u32>(unpack4xU8(weight_scales[row * row_units() + unit]));
    // Of a normal number the exponent's bias is 7 here and 127 there; half of it is one less.
    let normal = bitcast<vec4<f32>>((d << vec4(20u)) + vec4(119u << 23u));
    let scale = select(normal, vec4<f32>(d) / 1024.0, d < vec4(8u));
    return Unit(weight_codes[at], weight_codes[at + row_units()], scale);
}

// Weights 4·four to 4·four + 3 of the unit.
fn unit_four(u: Unit, four: u32) -> u32 {
    let block = select(u.first, u.second, four >= 8u);
    return e2m1_values(vec4(block[four % 4u] >> (4u * (four / 4u % 2u)))).x;
}

// Weights 16·group to 16·group + 15 of the unit.
fn unit_group(u: Unit, group: u32) -> vec4<u32> {
    let block = select(u.first, u.second, group >= 2u);
    return e2m1_values(block >> vec4(4u * (group % 2u)));
}
