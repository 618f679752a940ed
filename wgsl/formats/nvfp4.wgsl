// NVFP4: w[i] = d / 2 · value[i], twice a float of 4 bits, d an unsigned float of 8 bits (E4M3) for each 16 weights. A unit is a block of
// 64 weights.
// weight_codes, for each row the first 32 weights of all units, then the second 32, as lib/e2m1.wgsl says
// weight_scales[unit]: a byte for the d of each 16 weights

import package::lib::e2m1::unit_dot_i8;
import package::lib::e2m1::unit_weights;
import package::lib::row::row_units;

@group(1) @binding(0) var<storage, read> weight_codes: array<vec4<u32>>;
@group(1) @binding(1) var<storage, read> weight_scales: array<u32>;

const UNIT: u32 = 64u;

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
