// Gate and up of a feed-forward under a clamp, if there is one.

override CLAMPED: u32 = 0u;
override LIMIT: f32 = 0.0;     // what gate does not exceed, and up not in size
override SHIFT: f32 = 0.0;     // what is added to up

fn gate_of(x: f32) -> f32 {
    return select(x, min(x, LIMIT), CLAMPED == 1u);
}

fn up_of(x: f32) -> f32 {
    return select(x, clamp(x, -LIMIT, LIMIT) + SHIFT, CLAMPED == 1u);
}

fn gates_of(x: vec4<f32>) -> vec4<f32> {
    return select(x, min(x, vec4<f32>(LIMIT)), CLAMPED == 1u);
}

fn ups_of(x: vec4<f32>) -> vec4<f32> {
    return select(x, clamp(x, vec4<f32>(-LIMIT), vec4<f32>(LIMIT)) + SHIFT, CLAMPED == 1u);
}
