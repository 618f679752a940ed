// What a matvec multiplies, as int8: the sum of a residual and a normalised value, itself normalised or as it is, rounded as in wgsl/copy/i8.wgsl.

import package::lib::quants::Quants;
import package::lib::summed::prepare_x;
import package::lib::summed::input_squares;
import package::lib::summed::sum_of_block;

override UNITS: u32 = (COLS + 63u) / 64u;
override ROW_BLOCKS: u32 = (COLS + 63u) / 64u * 4u;

// The first blocks of all units, then the second, third and fourth ones.
var<workgroup> row_quants: array<vec4<u32>, ROW_BLOCKS>;
var<workgroup> row_factors: array<vec2<f32>, ROW_BLOCKS>;  // scale, scale · Σ

fn put_four(four: u32, numbers: vec4<f32>, valid: bool, at: Invocation) {
    var most = vec4<f32>(max(max(abs(numbers.x), abs(numbers.y)), max(abs(numbers.z), abs(numbers.w))));
    most = max(most, from_lane(most, 1u, at));
    let largest = max(most, from_lane(most, 2u, at)).x;
    let steps = select(0.0, 127.0 / largest, largest > 0.0);
    let q = round(steps * numbers);
    let total = sum_of_block(vec4<f32>(dot(q, vec4<f32>(1.0))), at).x;
    let block = four / 4u;
    let place = block % 4u * UNITS + block / 4u;
    if (valid) {
        row_quants[place][four % 4u] = pack4xI8(vec4<i32>(q));
        if (four % 4u == 0u) {
            let scale = largest / 127.0;
            row_factors[place] = vec2<f32>(scale, scale * total);
        }
    }
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
