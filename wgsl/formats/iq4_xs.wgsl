// IQ4_XS: w[i] = d · scale · value(code[i]), a code of 4 bits, a scale of 6 bits for each sub-block of 32 weights. A unit is two of the 8
// sub-blocks of a block.
// weight_codes, for each row the first sub-blocks of all units, then the second ones: byte j holds code[j] (low half) and code[j + 16]
//   (high half)
// weight_headers, for each block three words: the 8 scales as int8, then d (f32)

import package::lib::iq4::iq4_values;
import package::lib::packed::unit_dot_i8;
import package::lib::packed::unit_weights;
import package::lib::row::row_units;

@group(1) @binding(0) var<storage, read> weight_codes: array<vec4<u32>>;
@group(1) @binding(1) var<storage, read> weight_headers: array<u32>;

const UNIT: u32 = 64u;
const OFFSET: f32 = 0.0;
const LOW_BITS: u32 = 0x0f0f0f0fu;

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

// Weights 4·four to 4·four + 3 of the unit.
fn unit_four(u: Unit, four: u32) -> u32 {
    let block = select(u.first, u.second, four >= 8u);
    let codes = (block[four % 4u] >> (4u * (four / 4u % 2u))) & LOW_BITS;
    return iq4_values(vec4(codes)).x;
}

// Weights 16·group to 16·group + 15 of the unit.
fn unit_group(u: Unit, group: u32) -> vec4<u32> {
    let block = select(u.first, u.second, group >= 2u);
    return iq4_values((block >> vec4(4u * (group % 2u))) & vec4(LOW_BITS));
}
