// Weights for a tile in f16, of formats that have no quicker decoder for that than the exact one.

import package::weight::Unit;
import package::weight::unit_weights;

// Weights 4·four to 4·four + 3 of the unit.
fn f16_weights(u: Unit, four: u32) -> vec4<f32> {
    return unit_weights(u, four);
}
