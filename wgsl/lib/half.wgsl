// Two numbers as f16. Beyond f16's range the largest f16 is kept: an infinity would poison every later token.
fn pack_halves(x: vec2<f32>) -> u32 {
    return pack2x16float(clamp(x, vec2<f32>(-65504.0), vec2<f32>(65504.0)));
}
