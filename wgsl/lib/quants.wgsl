// 32 activations as int8, for the integer formats: activation[i] ≈ scale · q[i], −127 ≤ q[i] ≤ 127, a scale for each 16.

struct Quants {
    lo: vec4<u32>,  // q[0..16], four to a u32, the first in its lowest byte
    hi: vec4<u32>,  // q[16..32]
    scale: vec2<f32>, // of q[0..16], of q[16..32]
    sum: vec2<f32>,   // scale · Σ q[0..16], scale · Σ q[16..32]: what a format's offsets are multiplied by
}

// Σ of 16 products of int8, exactly.
fn dot16_i8(a: vec4<u32>, b: vec4<u32>) -> i32 {
    return dot4I8Packed(a.x, b.x) + dot4I8Packed(a.y, b.y) + dot4I8Packed(a.z, b.z) + dot4I8Packed(a.w, b.w);
}

// Σ scale · products over the two halves.
fn dot32_i8(lo: vec4<u32>, hi: vec4<u32>, x: Quants) -> f32 {
    return x.scale.x * f32(dot16_i8(lo, x.lo)) + x.scale.y * f32(dot16_i8(hi, x.hi));
}
