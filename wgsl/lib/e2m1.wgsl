// Floats of 4 bits.

// Twice the value of each code as int8; a code is the low half of a byte, and not −0. Magnitudes are 0, 1, 2, 3, 4, 6, 8, 12: the low 3 bits as
// a number, and 1 more with bits 2 and 0, 2 more with bits 2 and 1, 2 more with all three.
fn e2m1_values(codes: vec4<u32>) -> vec4<u32> {
    let ones = (codes >> vec4(2u)) & codes & vec4(0x01010101u);
    let twos = (codes >> vec4(1u)) & codes & vec4(0x02020202u);
    let magnitude = (codes & vec4(0x07070707u)) + ones + twos + ((ones << vec4(1u)) & twos);
    // −m is ~m + 1; of m = 0 that would carry into the next byte.
    let negative = (codes >> vec4(3u)) & vec4(0x01010101u);
    return (magnitude ^ (negative * 255u)) + negative;
}
