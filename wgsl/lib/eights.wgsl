// Of formats that decode 8 weights at a time (`unit_eight`), what lib/packed.wgsl asks for.

import package::weight::Unit;
import package::weight::unit_eight;

// Weights 4·four to 4·four + 3 of the unit, as int8.
fn unit_four(u: Unit, four: u32) -> u32 {
    let eight = unit_eight(u, four / 2u);
    return select(eight.x, eight.y, four % 2u == 1u);
}

// Weights 16·group to 16·group + 15 of the unit, as int8.
fn unit_group(u: Unit, group: u32) -> vec4<u32> {
    return vec4(unit_eight(u, 2u * group), unit_eight(u, 2u * group + 1u));
}
