// What a matvec multiplies, in f32: the sum of a residual and a normalised value, itself normalised or as it is. Its length is whole blocks of 16.

import package::lib::fours::product;
import package::lib::summed::prepare_x;
import package::lib::summed::input_squares;

override ROW_FOURS: u32 = (COLS + 15u) / 16u * 4u;

var<workgroup> row_fours: array<vec4<f32>, ROW_FOURS>;

fn put_four(four: u32, numbers: vec4<f32>, valid: bool, at: Invocation) {
    if (valid) {
        row_fours[four] = numbers;
    }
}

fn load_x(r: u32, unit: u32) -> X {
    var loaded: X;
    for (var four = 0u; four < UNIT / 4u; four++) {
        loaded.fours[four] = row_fours[min(unit * (UNIT / 4u) + four, ROW_FOURS - 1u)];
    }
    return loaded;
}
