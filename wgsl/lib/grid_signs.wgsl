// The signs of the IQ formats, whose grids have magnitudes.

// The 8 signs of the low 7 bits: an even number of weights is negative.
fn eighth_sign(signs: u32) -> u32 {
    let seven = signs & 127u;
    return seven | ((countOneBits(seven) & 1u) << 7u);
}

// 8 magnitudes, none of them 0, as int8 with their signs: bit i of `signs` negates byte i.
fn with_signs(magnitudes: vec2<u32>, signs: u32) -> vec2<u32> {
    // A bit to the lowest place of each byte: four copies, seven bits apart.
    let ones = (vec2(signs & 15u, (signs >> 4u) & 15u) * 0x00204081u) & vec2(0x01010101u);
    // −m is ~m + 1; no byte carries, since m is not 0.
    return (magnitudes ^ (ones * 255u)) + ones;
}
