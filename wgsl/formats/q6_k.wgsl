// Q6_K: w[i] = d · scale · (q[i] − 32), 0 ≤ q[i] ≤ 63, an int8 scale for each 16 weights. A unit is four of the 16 groups of a block.
// Groups 0 and 2 of a unit are even, 1 and 3 odd. The nibbles of an even group are the low 4 bits of its q, and 2 more bits are
//   the high ones; of an odd group the nibbles are the high 4 bits of q with the highest one flipped, and 2 more bits are the low
//   ones: put together in the upper 6 bits of a byte that is 4 · (q − 32), without a shift of the nibble
// weight_nibbles, for each row groups 0 and 1 of all units, then groups 2 and 3: byte j holds nibble j of the even group (low
//   half) and of the odd one (high half)
// weight_pairs[unit]: word g the 2 more bits of group g: byte i holds, from its lowest bits up, those of weights i, i + 4, i + 8,
//   i + 12, so that one shift and one mask place four
// weight_scales, for each block five words: one for each unit, its 4 scales as int8; then d (f32)

import package::lib::bytes::floats_i8;
import package::lib::bytes::floats_u8;
import package::lib::quants::Quants;
import package::lib::quants::dot16_i8_added;
import package::lib::row::row_units;

@group(1) @binding(0) var<storage, read> weight_nibbles: array<vec4<u32>>;
@group(1) @binding(1) var<storage, read> weight_pairs: array<vec4<u32>>;
@group(1) @binding(2) var<storage, read> weight_scales: array<u32>;

const UNIT: u32 = 64u;
const LOW_BITS: u32 = 0x0f0f0f0fu;
const EVEN_PAIR: u32 = 0x30303030u;
const ODD_PAIR: u32 = 0x0c0c0c0cu;

struct Unit {
    first: vec4<u32>,
    second: vec4<u32>,
    pairs: vec4<u32>,
    scale: vec4<f32>, // d · scale
}

fn load_unit(row: u32, unit: u32) -> Unit {
    let at = row * (2u * row_units()) + unit;
    let header = (row * (row_units() / 4u) + unit / 4u) * 5u;
    let scales = vec4<f32>(unpack4xI8(weight_scales[header + unit % 4u]));
    return Unit(
        weight_nibbles[at],
        weight_nibbles[at + row_units()],
        weight_pairs[row * row_units() + unit],
        bitcast<f32>(weight_scales[header + 4u]) * scales,
    );
}

// Weights 4·four to 4·four + 3 of the unit.
fn unit_weights(u: Unit, four: u32) -> vec4<f32> {
    let group = four / 4u;
    let nibbles = select(u.first, u.second, four >= 8u)[four % 4u];
    let pair = (u.pairs[group] >> (2u * (four % 4u))) & 0x03030303u;
    let even = floats_u8((nibbles & LOW_BITS) | (pair << 4u)) - 32.0;
    let odd = floats_i8((nibbles & ~LOW_BITS) | (pair << 2u)) / 4.0;
    return u.scale[group] * select(even, odd, group % 2u == 1u);
}

// Σ w[i] · x[i] over the unit.
fn unit_dot_i8(u: Unit, x: Quants) -> f32 {
    let even = vec2<f32>(dot16_i8_added(even_group(u.first, u.pairs.x), x.q0), dot16_i8_added(even_group(u.second, u.pairs.z), x.q2));
    let odd = vec2<f32>(dot16_i8_added(odd_group(u.first, u.pairs.y), x.q1), dot16_i8_added(odd_group(u.second, u.pairs.w), x.q3));
    return dot(u.scale.xz, x.scale.xz * even - 32.0 * x.sum.xz) + dot(u.scale.yw, x.scale.yw / 4.0 * odd);
}

// q of an even group.
fn even_group(nibbles: vec4<u32>, pairs: u32) -> vec4<u32> {
    return (nibbles & vec4(LOW_BITS)) | (vec4(pairs << 4u, pairs << 2u, pairs, pairs >> 2u) & vec4(EVEN_PAIR));
}

// 4 · (q − 32) of an odd group.
fn odd_group(nibbles: vec4<u32>, pairs: u32) -> vec4<u32> {
    return (nibbles & ~vec4(LOW_BITS)) | (vec4(pairs << 2u, pairs, pairs >> 2u, pairs >> 4u) & vec4(ODD_PAIR));
}
