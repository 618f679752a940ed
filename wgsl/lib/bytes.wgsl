// Bytes as floats, without a conversion, which some adapters do four times slower than an addition: behind the bits of 2²³ a byte is 2²³ + itself.

fn floats_u8(word: u32) -> vec4<f32> {
    let bytes = (vec4(word) >> vec4(0u, 8u, 16u, 24u)) & vec4(255u);
    return bitcast<vec4<f32>>(bytes | vec4(0x4b000000u)) - 8388608.0;
}

// Of signed bytes: moved up by 128.
fn floats_i8(word: u32) -> vec4<f32> {
    let bytes = (vec4(word ^ 0x80808080u) >> vec4(0u, 8u, 16u, 24u)) & vec4(255u);
    return bitcast<vec4<f32>>(bytes | vec4(0x4b000000u)) - 8388736.0;
}
