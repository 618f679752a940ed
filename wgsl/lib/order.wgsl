// Keys whose order is that of the logits, so that NaN and infinity never enter arithmetic, where WGSL lets a compiler assume that
// there are none. 0 stands for NaN; ±0 have the same key; infinities count as ±1e30, which leaves room to divide by a temperature.

fn order_key(logit: f32) -> u32 {
    let bits = bitcast<u32>(logit);
    let magnitude = bits & 0x7fffffffu;
    if magnitude > 0x7f800000u { return 0u; }
    let limited = min(magnitude, 0x7149f2cau);
    return select(0x80000000u + limited, 0x80000000u - limited, bits >= 0x80000000u);
}

fn order_value(key: u32) -> f32 {
    if key >= 0x80000000u { return bitcast<f32>(key - 0x80000000u); }
    return -bitcast<f32>(0x80000000u - key);
}

// Candidates are (key, token): the better one has the larger key, or of equal keys the smaller token.
const NO_CANDIDATE: vec2<u32> = vec2<u32>(0u, 0xffffffffu);

fn better_of(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    return select(a, b, b.x > a.x || (b.x == a.x && b.y < a.y));
}
