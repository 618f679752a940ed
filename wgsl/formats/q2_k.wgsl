// Q2_K: w[i] = d · scale · q[i] − dmin · minimum, 0 ≤ q[i] ≤ 3, scale and minimum 4 bits for each 16 weights. A unit is four of the 16
// groups of a block.
// weight_pairs[unit]: its q, as in lib/crossed.wgsl
// weight_headers, for each block five words: one for each unit, a byte for each group, its scale (low half) and its minimum (high half);
//   then d (f16, low half) and dmin (f16, high half)

import package::lib::crossed::crossed_dots;
import package::lib::crossed::crossed_four;
import package::lib::quants::Quants;
import package::lib::row::row_units;

@group(1) @binding(0) var<storage, read> weight_pairs: array<vec4<u32>>;
@group(1) @binding(1) var<storage, read> weight_headers: array<u32>;

const UNIT: u32 = 64u;

struct Unit {
    pairs: vec4<u32>,
    scale: vec4<f32>,   // d · scale
    minimum: vec4<f32>, // dmin · minimum
}

fn load_unit(row: u32, unit: u32) -> Unit {
    let header = (row * (row_units() / 4u) + unit / 4u) * 5u;
    let steps = weight_headers[header + unit % 4u];
    let d = unpack2x16float(weight_headers[header + 4u]);
    let scale = d.x * vec4<f32>(unpack4xU8(steps & 0x0f0f0f0fu));
    let minimum = d.y * vec4<f32>(unpack4xU8((steps >> 4u) & 0x0f0f0f0fu));
    return Unit(weight_pairs[row * row_units() + unit], scale, minimum);
}

// Weights 4·four to 4·four + 3 of the unit.
fn unit_weights(u: Unit, four: u32) -> vec4<f32> {
    return u.scale[four / 4u] * crossed_four(u.pairs, four) - u.minimum[four / 4u];
}

// Σ w[i] · x[i] over the unit.
fn unit_dot_i8(u: Unit, x: Quants) -> f32 {
    return dot(u.scale, crossed_dots(u.pairs, x)) - dot(u.minimum, x.sum);
}
