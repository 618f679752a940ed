// Q8_0: w[i] = d · q[i], −128 ≤ q[i] ≤ 127. A unit is two blocks of 32 weights.
// weight_quants, for each row q[0..16] of all units, then q[16..32], q[32..48], q[48..64]: int8, the first in the lowest byte
// weight_scales[unit]: d (f16) of the first block in the low half, of the second in the high half

import package::lib::bytes::floats_above_256;
import package::lib::quants::Quants;
import package::lib::quants::dot16_i8_added;
import package::lib::row::row_units;

@group(1) @binding(0) var<storage, read> weight_quants: array<vec4<u32>>;
@group(1) @binding(1) var<storage, read> weight_scales: array<u32>;

const UNIT: u32 = 64u;

struct Unit {
    q0: vec4<u32>,
    q1: vec4<u32>,
    q2: vec4<u32>,
    q3: vec4<u32>,
    d: vec2<f32>,
}

fn load_unit(row: u32, unit: u32) -> Unit {
    let units = row_units();
    let at = row * (4u * units) + unit;
    let d = unpack2x16float(weight_scales[row * units + unit]);
    return Unit(
        weight_quants[at], weight_quants[at + units], weight_quants[at + 2u * units], weight_quants[at + 3u * units], d,
    );
}

// Weights 4·four to 4·four + 3 of the unit.
fn unit_weights(u: Unit, four: u32) -> vec4<f32> {
    let pair = four / 4u % 2u == 1u;
    let q = select(select(u.q0, u.q1, pair), select(u.q2, u.q3, pair), four >= 8u);
    let d = select(u.d.x, u.d.y, four >= 8u);
    return d * floats_above_256(q[four % 4u] ^ 0x80808080u) - 384.0 * d;
}

// Σ w[i] · x[i] over the unit.
fn unit_dot_i8(u: Unit, x: Quants) -> f32 {
    let first = x.scale.x * dot16_i8_added(u.q0, x.q0) + x.scale.y * dot16_i8_added(u.q1, x.q1);
    let second = x.scale.z * dot16_i8_added(u.q2, x.q2) + x.scale.w * dot16_i8_added(u.q3, x.q3);
    return u.d.x * first + u.d.y * second;
}
