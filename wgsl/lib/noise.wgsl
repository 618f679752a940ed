// −ln(−ln u), where 1 − u is a uniform number of 32 bits that the seed, the position and the token decide: crates/engine/src/sampler.rs has it in f64.

fn gumbel(seed: vec2<u32>, position: u32, token: u32) -> f32 {
    let h = noise_hash(vec4<u32>(seed, position, token));
    if h >= 0x80000000u { return -log(-log((f32(~h) + 0.5) * 0x1p-32)); }
    // WGSL's log may be off by 2⁻²¹ near 1, which is where the largest noise comes from.
    // So −ln(1 − v) = 2 · atanh(v / (2 − v)) as a series; with v below 1/2 it ends after z¹³ at 1.4e-8.
    let v = (f32(h) + 0.5) * 0x1p-32;
    let z = v / (2.0 - v);
    let s = z * z;
    let tail = s * (1.0 / 3.0 + s * (1.0 / 5.0 + s * (1.0 / 7.0 + s * (1.0 / 9.0 + s * (1.0 / 11.0 + s * (1.0 / 13.0))))));
    return -log(2.0 * z * (1.0 + tail));
}

// The last word of pcg4d (Jarzynski and Olano 2020, "Hash Functions for GPU Rendering").
fn noise_hash(words: vec4<u32>) -> u32 {
    var v = words * 1664525u + 1013904223u;
    v = noise_round(v);
    return noise_round(v ^ (v >> vec4<u32>(16u))).w;
}

fn noise_round(words: vec4<u32>) -> vec4<u32> {
    var v = words;
    v.x += v.y * v.w;
    v.y += v.z * v.x;
    v.z += v.x * v.y;
    v.w += v.y * v.z;
    return v;
}
