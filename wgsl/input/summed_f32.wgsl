// What a matvec multiplies, in f32: the sum of a residual and a normalised value, itself normalised or as it is. Its length is whole blocks of 16.

import package::lib::fours::product;
import package::lib::summed::prepare_x;
import package::lib::summed::input_squares;

override ROW_FOURS: u32 = (COLS + 15u) / 16u * 4u;

var<workgroup> row_fours: array<vec4<f32>, ROW_FOURS>;

fn put_block(b: u32, fours: array<vec4<f32>, 4>) {
    row_fours[4u * b] = fours[0];
    row_fours[4u * b + 1u] = fours[1];
    row_fours[4u * b + 2u] = fours[2];
    row_fours[4u * b + 3u] = fours[3];
}

fn load_x(r: u32, unit: u32) -> X {
    var loaded: X;
    for (var four = 0u; four < UNIT / 4u; four++) {
        loaded.fours[four] = row_fours[min(unit * (UNIT / 4u) + four, ROW_FOURS - 1u)];
    }
    return loaded;
}
