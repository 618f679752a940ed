// A unit of 64 weights of 2 bits: byte i of word f holds those of weights 4·f + i, 16 + 4·f + i, 32 + 4·f + i and 48 + 4·f + i from its
// lowest bits up, the highest bit flipped.

import package::lib::quants::Quants;
import package::lib::quants::dot16_i8;

// q of weights 4·four to 4·four + 3 of the unit.
fn crossed_four(words: vec4<u32>, four: u32) -> vec4<f32> {
    return vec4<f32>(unpack4xU8(((words[four % 4u] ^ 0x80808080u) >> (2u * (four / 4u))) & 0x03030303u));
}

// Σ q[i] · x[i] over each 16 weights of the unit. Masked, bytes are q, 4 · q, 16 · q and 64 · (q − 2): no shifts.
fn crossed_dots(words: vec4<u32>, x: Quants) -> vec4<f32> {
    let products = vec4<f32>(
        dot16_i8(words & vec4(0x03030303u), x.q0),
        dot16_i8(words & vec4(0x0c0c0c0cu), x.q1),
        dot16_i8(words & vec4(0x30303030u), x.q2),
        dot16_i8(words & vec4(0xc0c0c0c0u), x.q3),
    );
    return x.scale * vec4(1.0, 0.25, 0.0625, 0.015625) * products + vec4(0.0, 0.0, 0.0, 2.0 * x.sum.w);
}
