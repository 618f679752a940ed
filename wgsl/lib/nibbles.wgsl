// The nibbles of a word as floats behind the bits of 2⁷: 128 + each, exactly, so that a scale and what is taken away are one operation.

// The low halves of four bytes, or the high ones, of which the highest bits are flipped: there q − 8 is kept in two's complement.
fn floats_above_128(word: u32, high: bool) -> vec4<f32> {
    let low_halves = vec4(word << 16u, word << 8u, word, word >> 8u);
    let high_halves = vec4(word << 12u, word << 4u, word >> 4u, word >> 12u);
    let bits = select(low_halves, high_halves, high) & vec4(0x000f0000u);
    return bitcast<vec4<f32>>(bits ^ vec4(select(0x43000000u, 0x43080000u, high)));
}
