// What matrix units of 16 × 16 do, in plain arithmetic: for tests on adapters without them. A subgroup is 32 invocations; each has half
// a row of a result, and of a left factor the row that it needs. Right factors are read where they are multiplied.
//
// The kernel declares TILE_FOURS and STAGE_FOURS. Places in both and strides there are counted in vectors of four.

const SIZE: u32 = 16u;

alias Left = array<vec4<f32>, 4>;
alias Sums = array<vec4<f32>, 2>;

struct Right {
    at: u32,
    stride: u32,
    by_rows: bool,
}

struct Eight {
    low: vec2<u32>,
    high: vec2<u32>,
}

var<workgroup> tile: array<vec2<u32>, TILE_FOURS>;
var<workgroup> stage: array<vec4<f32>, STAGE_FOURS>;
var<private> matrix_lane: u32;
var<private> four: u32;    // 4, which no compiler knows: unrolled, these loops would take it minutes

fn matrix_begin(local: u32) {
    matrix_lane = local % 32u;
    four = 4u + matrix_lane / 32u;
}

fn tile_put(at: u32, v: vec4<f32>) {
    tile[at] = vec2(pack2x16float(v.xy), pack2x16float(v.zw));
}

fn tile_put_eight(at: u32, v: Eight) {
    tile[at] = v.low;
    tile[at + 1u] = v.high;
}

fn tile_four(at: u32) -> vec4<f32> {
    return vec4<f32>(unpack2x16float(tile[at].x), unpack2x16float(tile[at].y));
}

fn load_left(at: u32, stride: u32) -> Left {
    let row = at + matrix_lane / 2u * stride;
    return Left(tile_four(row), tile_four(row + 1u), tile_four(row + 2u), tile_four(row + 3u));
}

fn load_right(at: u32, stride: u32) -> Right {
    return Right(at, stride, false);
}

fn load_right_rows(at: u32, stride: u32) -> Right {
    return Right(at, stride, true);
}

fn multiply_add(a: Left, b: Right, c: Sums) -> Sums {
    var left = a;
    var sums = c;
    let half = matrix_lane % 2u;
    for (var k = 0u; k < four; k++) {
        for (var i = 0u; i < four; i++) {
            if (b.by_rows) {
                let row = b.at + (4u * k + i) * b.stride + 2u * half;
                sums[0] += left[k][i] * tile_four(row);
                sums[1] += left[k][i] * tile_four(row + 1u);
            } else {
                sums[0][i] += dot(left[k], tile_four(b.at + (8u * half + i) * b.stride + k));
                sums[1][i] += dot(left[k], tile_four(b.at + (8u * half + 4u + i) * b.stride + k));
            }
        }
    }
    return sums;
}

fn place_of(at: u32, stride: u32) -> u32 {
    return at + matrix_lane / 2u * stride + matrix_lane % 2u * 2u;
}

fn stage_sums(c: Sums, at: u32, stride: u32) {
    stage[place_of(at, stride)] = c[0];
    stage[place_of(at, stride) + 1u] = c[1];
}

fn load_sums(at: u32, stride: u32) -> Sums {
    return Sums(stage[place_of(at, stride)], stage[place_of(at, stride) + 1u]);
}

fn staged(at: u32) -> vec4<f32> {
    return stage[at];
}

fn staged_number(at: u32) -> f32 {
    return stage[at / 4u][at % 4u];
}

fn stage_put(at: u32, v: vec4<f32>) {
    stage[at] = v;
}
