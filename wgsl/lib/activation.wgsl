// Activation functions, by the numbers of `gpu/kernels/mod.rs`.

fn activate_one(kind: u32, x: f32) -> f32 {
    switch (kind) {
        case 0u: {
            return x / (1.0 + exp(-x)); // SiLU
        }
        case 1u: {
            // GELU, the tanh form; its argument is clamped because some adapters' tanh overflows.
            let inner = 0.7978845608028654 * (x + 0.044715 * x * x * x);
            return 0.5 * x * (1.0 + tanh(clamp(inner, -15.0, 15.0)));
        }
        case 2u: {
            return 0.5 * x * erf_plus_one(x * 0.7071067811865476); // GELU with the error function
        }
        case 3u: {
            return max(x, 0.0) * max(x, 0.0); // squared ReLU
        }
        case 4u: {
            return 1.0 / (1.0 + exp(-x)); // sigmoid
        }
        default: {
            return x / (1.0 + exp(-1.702 * x)); // quick GELU
        }
    }
}

// 1 + erf(x): Abramowitz & Stegun 1964, 7.1.26, within 1.5e-7.
fn erf_plus_one(x: f32) -> f32 {
    let t = 1.0 / (1.0 + 0.3275911 * abs(x));
    let series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
    let complement = series * exp(-x * x);
    return select(complement, 2.0 - complement, x >= 0.0);
}

fn activate(kind: u32, x: vec4<f32>) -> vec4<f32> {
    return vec4<f32>(
        activate_one(kind, x.x), activate_one(kind, x.y), activate_one(kind, x.z), activate_one(kind, x.w),
    );
}
