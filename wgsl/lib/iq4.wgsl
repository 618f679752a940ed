// The values of IQ4_NL and IQ4_XS.

// The value of each code as int8; a code is the low half of a byte. A table would be a load for each weight; so four bits choose among
// 16 constants, all bytes of 16 codes at once.
fn iq4_values(codes: vec4<u32>) -> vec4<u32> {
    let b0 = (codes & vec4(0x01010101u)) * 255u;
    let b1 = ((codes >> vec4(1u)) & vec4(0x01010101u)) * 255u;
    let b2 = ((codes >> vec4(2u)) & vec4(0x01010101u)) * 255u;
    let b3 = ((codes >> vec4(3u)) & vec4(0x01010101u)) * 255u;
    // Of codes 2n and 2n + 1 the value of the first, and in which bits that of the second differs.
    let v0 = vec4(0x81818181u) ^ (b0 & vec4(0x19191919u)); // -127, -104
    let v1 = vec4(0xadadadadu) ^ (b0 & vec4(0x12121212u)); // -83, -65
    let v2 = vec4(0xcfcfcfcfu) ^ (b0 & vec4(0x12121212u)); // -49, -35
    let v3 = vec4(0xeaeaeaeau) ^ (b0 & vec4(0x1c1c1c1cu)); // -22, -10
    let v4 = vec4(0x01010101u) ^ (b0 & vec4(0x0c0c0c0cu)); // 1, 13
    let v5 = vec4(0x19191919u) ^ (b0 & vec4(0x3f3f3f3fu)); // 25, 38
    let v6 = vec4(0x35353535u) ^ (b0 & vec4(0x70707070u)); // 53, 69
    let v7 = vec4(0x59595959u) ^ (b0 & vec4(0x28282828u)); // 89, 113
    let c0 = v0 ^ (b1 & (v0 ^ v1));
    let c1 = v2 ^ (b1 & (v2 ^ v3));
    let c2 = v4 ^ (b1 & (v4 ^ v5));
    let c3 = v6 ^ (b1 & (v6 ^ v7));
    let d0 = c0 ^ (b2 & (c0 ^ c1));
    let d1 = c2 ^ (b2 & (c2 ^ c3));
    return d0 ^ (b3 & (d0 ^ d1));
}
