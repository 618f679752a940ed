// Bytes as floats, without a conversion, which some adapters do four times slower than an addition: behind the bits of 2²³ a byte is 2²³ + itself.

fn floats_u8(word: u32) -> vec4<f32> {
    let bytes = (vec4(word) >> vec4(0u, 8u, 16u, 24u)) & vec4(255u);
    return bitcast<vec4<f32>>(bytes | vec4(0x4b000000u)) - 8388608.0;
}

// The same behind the bits of 2⁸, without taking them away again: 256 + each byte, exactly. A scale times it, less 256 times the scale, is one operation.
fn floats_above_256(word: u32) -> vec4<f32> {
    return bitcast<vec4<f32>>((vec4(word << 15u, word << 7u, word >> 1u, word >> 9u) & vec4(0x007f8000u)) | vec4(0x43800000u));
}

// Of signed bytes: moved up by 128.
fn floats_i8(word: u32) -> vec4<f32> {
    let bytes = (vec4(word ^ 0x80808080u) >> vec4(0u, 8u, 16u, 24u)) & vec4(255u);
    return bitcast<vec4<f32>>(bytes | vec4(0x4b000000u)) - 8388736.0;
}
