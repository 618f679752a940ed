// Weights of 5 bits, four to a u32, of a nibble each and a bit that is elsewhere.
//
// Of 32 weights, 16 to a nibble's side: nibbles[j] holds those of weights 4·j to 4·j + 3 in its low halves and of weights 16 + 4·j to
// 16 + 4·j + 3 in its high halves; byte i of `bits` holds the bits of weights i, i + 4, i + 8 and so on from its lowest bit up.
// Of weights 0 to 15 the nibble is the low 4 bits of q, of weights 16 to 31 the high ones with the highest flipped.

// q of weights 4·four to 4·four + 3, four < 8.
fn five_bits(nibbles: vec4<u32>, bits: u32, four: u32) -> u32 {
    let n = nibbles[four % 4u];
    let bit = (bits >> four) & 0x01010101u;
    let high = (((n >> 3u) & 0x1e1e1e1eu) ^ 0x10101010u) | bit;
    return select(high, (n & 0x0f0f0f0fu) | (bit << 4u), four < 4u);
}

// q of weights 0 to 15.
fn five_bits_low(nibbles: vec4<u32>, bits: u32) -> vec4<u32> {
    let high = vec4(bits << 4u, bits << 3u, bits << 2u, bits << 1u);
    return (nibbles & vec4(0x0f0f0f0fu)) | (high & vec4(0x10101010u));
}

// 8 · (q − 16) of weights 16 to 31, as int8.
fn five_bits_high(nibbles: vec4<u32>, bits: u32) -> vec4<u32> {
    let low = vec4(bits >> 1u, bits >> 2u, bits >> 3u, bits >> 4u);
    return (nibbles & vec4(0xf0f0f0f0u)) | (low & vec4(0x08080808u));
}
