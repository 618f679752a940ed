// What a matvec multiplies, as int8: the sum of a residual and a normalised value, itself normalised or as it is, rounded as in wgsl/copy/i8.wgsl.

import package::lib::quants::Quants;
import package::lib::summed::prepare_x;
import package::lib::summed::input_squares;

override UNITS: u32 = (COLS + 63u) / 64u;
override ROW_BLOCKS: u32 = (COLS + 63u) / 64u * 4u;

// The first blocks of all units, then the second, third and fourth ones.
var<workgroup> row_quants: array<vec4<u32>, ROW_BLOCKS>;
var<workgroup> row_factors: array<vec2<f32>, ROW_BLOCKS>;  // scale, scale · Σ

fn put_block(b: u32, fours: array<vec4<f32>, 4>) {
    let most = max(max(abs(fours[0]), abs(fours[1])), max(abs(fours[2]), abs(fours[3])));
    let largest = max(max(most.x, most.y), max(most.z, most.w));
    let steps = select(0.0, 127.0 / largest, largest > 0.0);
    let q0 = round(steps * fours[0]);
    let q1 = round(steps * fours[1]);
    let q2 = round(steps * fours[2]);
    let q3 = round(steps * fours[3]);
    let at = b % 4u * UNITS + b / 4u;
    row_quants[at] = vec4<u32>(
        pack4xI8(vec4<i32>(q0)), pack4xI8(vec4<i32>(q1)), pack4xI8(vec4<i32>(q2)), pack4xI8(vec4<i32>(q3)),
    );
    let scale = largest / 127.0;
    row_factors[at] = vec2<f32>(scale, scale * dot(q0 + q1 + q2 + q3, vec4<f32>(1.0)));
}

fn load_x(r: u32, unit: u32) -> Quants {
    let a = row_factors[unit];
    let b = row_factors[UNITS + unit];
    let c = row_factors[2u * UNITS + unit];
    let d = row_factors[3u * UNITS + unit];
    var scale = vec4<f32>(a.x, b.x, c.x, d.x);
    var sum = vec4<f32>(a.y, b.y, c.y, d.y);
    if (COLS % UNIT != 0u) {
        // Nothing wrote what lies past the row's end: no scale may make it count.
        let behind = vec4<u32>(0u, 16u, 32u, 48u) + UNIT * unit >= vec4<u32>(COLS);
        scale = select(scale, vec4<f32>(), behind);
        sum = select(sum, vec4<f32>(), behind);
    }
    return Quants(
        row_quants[unit], row_quants[UNITS + unit], row_quants[2u * UNITS + unit], row_quants[3u * UNITS + unit], scale, sum,
    );
}

fn product(u: Unit, v: Quants) -> f32 {
    return unit_dot_i8(u, v);
}
