// BF16: the upper half of a 32-bit float. A unit is 8 weights.
// weight_halves[unit]: word w holds weights 2w (low half) and 2w + 1 (high half)

@group(1) @binding(0) var<storage, read> weight_halves: array<vec4<u32>>;

const UNIT: u32 = 8u;

struct Unit {
    halves: vec4<u32>,
}

fn load_unit(unit: u32) -> Unit {
    return Unit(weight_halves[unit]);
}

// Weights 4·four to 4·four + 3 of the unit.
fn unit_weights(u: Unit, four: u32) -> vec4<f32> {
    let pairs = select(u.halves.xy, u.halves.zw, four == 1u);
    let even = pairs << vec2(16u);
    let odd = pairs & vec2(0xffff0000u);
    return bitcast<vec4<f32>>(vec4(even.x, odd.x, even.y, odd.y));
}
