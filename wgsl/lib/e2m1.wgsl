// Floats of 4 bits.

// Twice the value of each code as int8; a code is the low half of a byte, and not −0. 16 codes at once: magnitudes 0, 1, 2, 3 are
// doubled by the exponent's high bit and doubled again by both of its bits: 0, 1, 2, 3, 4, 6, 8, 12.
fn e2m1_values(codes: vec4<u32>) -> vec4<u32> {
    let low = codes & vec4(0x01010101u);
    let two = (codes >> vec4(1u)) & vec4(0x01010101u);
    let four = (codes >> vec4(2u)) & vec4(0x01010101u);
    let negative = (codes >> vec4(3u)) & vec4(0x01010101u);
    let base = low | ((two | four) << vec4(1u));
    let doubled = base + (base & (four * 255u));
    let magnitude = doubled + (doubled & ((two & four) * 255u));
    // −m is ~m + 1; of m = 0 that would carry into the next byte.
    return (magnitude ^ (negative * 255u)) + negative;
}
