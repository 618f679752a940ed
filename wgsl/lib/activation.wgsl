// Activation functions, by the number that `ops::Activation` gives them.

fn activate_one(kind: u32, x: f32) -> f32 {
    if (kind == 0u) {
        return x / (1.0 + exp(-x)); // SiLU
    }
    // GELU, the tanh form; its argument is clamped because some adapters' tanh overflows.
    let inner = 0.7978845608028654 * (x + 0.044715 * x * x * x);
    return 0.5 * x * (1.0 + tanh(clamp(inner, -15.0, 15.0)));
}

fn activate(kind: u32, x: vec4<f32>) -> vec4<f32> {
    return vec4<f32>(
        activate_one(kind, x.x), activate_one(kind, x.y), activate_one(kind, x.z), activate_one(kind, x.w),
    );
}
