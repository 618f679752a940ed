// 64 activations as int8, for the integer formats: activation[i] ≈ scale · q[i], −127 ≤ q[i] ≤ 127, a scale for each 16.

struct Quants {
    q0: vec4<u32>,    // q[0..16], four to a u32, the first in its lowest byte
    q1: vec4<u32>,    // q[16..32]
    q2: vec4<u32>,    // q[32..48]
    q3: vec4<u32>,    // q[48..64]
    scale: vec4<f32>, // of each 16
    sum: vec4<f32>,   // scale · Σ q of each 16: what a format's offsets are multiplied by
}

// Σ of 16 products of int8, exactly.
fn dot16_i8(a: vec4<u32>, b: vec4<u32>) -> f32 {
    return f32(sum16_i8(a, b));
}

// The same, made a float by an addition behind the bits of 1.5 · 2²³: a conversion takes some adapters four times as long.
fn dot16_i8_added(a: vec4<u32>, b: vec4<u32>) -> f32 {
    return bitcast<f32>(0x4b400000 + sum16_i8(a, b)) - 12582912.0;
}

fn sum16_i8(a: vec4<u32>, b: vec4<u32>) -> i32 {
    return dot4I8Packed(a.x, b.x) + dot4I8Packed(a.y, b.y) + dot4I8Packed(a.z, b.z) + dot4I8Packed(a.w, b.w);
}
