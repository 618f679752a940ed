// TQ2_0 and TQ1_0: w[i] = d · (q[i] − 1), 0 ≤ q[i] ≤ 2, d for each 256 weights. A unit is a quarter of a block.
// weight_pairs[unit]: its q, as in lib/crossed.wgsl
// weight_scales, the blocks of a row, row by row: d (f16), the first of two in the low half

import package::lib::crossed::crossed_dots;
import package::lib::crossed::crossed_four;
import package::lib::quants::Quants;
import package::lib::row::row_units;

@group(1) @binding(0) var<storage, read> weight_pairs: array<vec4<u32>>;
@group(1) @binding(1) var<storage, read> weight_scales: array<u32>;

const UNIT: u32 = 64u;

struct Unit {
    pairs: vec4<u32>,
    d: f32,
}

fn load_unit(row: u32, unit: u32) -> Unit {
    let block = row * (row_units() / 4u) + unit / 4u;
    let d = unpack2x16float(weight_scales[block / 2u]);
    return Unit(weight_pairs[row * row_units() + unit], select(d.x, d.y, block % 2u == 1u));
}

// Weights 4·four to 4·four + 3 of the unit.
fn unit_weights(u: Unit, four: u32) -> vec4<f32> {
    return u.d * (crossed_four(u.pairs, four) - 1.0);
}

// Σ w[i] · x[i] over the unit.
fn unit_dot_i8(u: Unit, x: Quants) -> f32 {
    return u.d * dot(vec4(1.0), crossed_dots(u.pairs, x) - x.sum);
}
