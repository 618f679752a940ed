// A unit of 64 floats of 4 bits (E2M1), a scale for each 16 of them (`scale` of `Unit`), as places p from 0 to 15: twice the float is
// p − 14 + 13 · h, where h is what most of p's bit 0, bit 1 flipped and bit 3 flipped say. So a product is two products of what a mask leaves.
// byte j holds place[j] (low half) and place[j + 16] − 8 in two's complement (high half), which flips its bit 3

import package::lib::bytes::floats_u8;
import package::lib::quants::Quants;
import package::lib::quants::dot16_i8_added;
import package::weight::Unit;

const LOW_BITS: u32 = 0x0f0f0f0fu;

// Weights 4·four to 4·four + 3 of the unit.
fn unit_weights(u: Unit, four: u32) -> vec4<f32> {
    let block = select(u.first, u.second, four >= 8u);
    let high = four / 4u % 2u;
    let p = ((block[four % 4u] >> (4u * high)) & LOW_BITS) ^ (high * 0x08080808u);
    let a = p >> 1u;
    let b = p >> 3u;
    let h = ((p & ~(a & b)) | ~(a | b)) & 0x01010101u;
    return u.scale[four / 4u] * (floats_u8(p + 13u * h) - 14.0);
}

// Σ of p, and 13 times that of h, times x for the low halves and 16 times those for the high ones.
fn halves_dot_i8(block: vec4<u32>, low: vec4<u32>, high: vec4<u32>) -> vec2<f32> {
    let a = block >> vec4(1u);
    let b = block >> vec4(3u);
    let h_low = ((block & ~(a & b)) | ~(a | b)) & vec4(0x01010101u);
    let h_high = ((block & (~a | b)) | (~a & b)) & vec4(0x10101010u);
    return vec2(
        dot16_i8_added(block & vec4(LOW_BITS), low) + 13.0 * dot16_i8_added(h_low, low),
        dot16_i8_added(block & ~vec4(LOW_BITS), high) + 13.0 * dot16_i8_added(h_high, high),
    );
}

// Σ w[i] · x[i] over the unit.
fn unit_dot_i8(u: Unit, x: Quants) -> f32 {
    let first = halves_dot_i8(u.first, x.q0, x.q1);
    let second = halves_dot_i8(u.second, x.q2, x.q3);
    return dot(u.scale, x.scale * vec4(1.0, 0.0625, 1.0, 0.0625) * vec4(first, second) - vec4(14.0, 6.0, 14.0, 6.0) * x.sum);
}
