// What matmuls on matrix units have in common: which rows of w are the columns of a tile, and what becomes of their sums. The kernel declares y, bias,
// COLUMNS, N, FIRST_ROW and SIZE, and has tiles.

import package::lib::activation::activate;
import package::lib::clamped::gates_of;
import package::lib::clamped::ups_of;

override FIRST_OUT: u32 = 0u;     // where the result goes in a row of y, a multiple of four
override OUT_STRIDE: u32 = 64u;
override BIAS: u32 = 0u;
override THEN: u32 = 0u;          // 0: kept, 1: added to a residual, 2: activated, 3: of the first half of w activated, times that of the second
override ACT: u32 = 0u;

override OWN_N: u32 = N / select(1u, 2u, THEN == 3u);                 // results of a row
override OWN_COLUMNS: u32 = COLUMNS / select(1u, 2u, THEN == 3u);     // results of a tile's row

// The row of w, in what is bound, that is column `column` of a tile; past the last one, that one once more.
fn weight_row(n0: u32, column: u32) -> u32 {
    if (THEN == 3u) {
        let n = min(n0 + column / (2u * SIZE) * SIZE + column % SIZE, N / 2u - 1u);
        return FIRST_ROW + tile_weights() + n + column / SIZE % 2u * second_step();
    }
    return FIRST_ROW + tile_weights() + min(n0 + column, N - 1u);
}

// Makes y[r, n] to y[r, n + 3] of their sums, and of a gate those of `second`; `added` is what is added.
fn finish(r: u32, n: u32, scale: f32, sum: vec4<f32>, second: vec4<f32>, added: vec4<f32>) {
    var value = sum * scale;
    let last = OWN_N - 1u;
    if (BIAS != 0u) {
        let at = FIRST_OUT + tile_weights() + min(vec4(n) + vec4(0u, 1u, 2u, 3u), vec4(last));
        value += vec4<f32>(bias[at.x], bias[at.y], bias[at.z], bias[at.w]);
    }
    if (THEN == 1u) {
        value += added;
    } else if (THEN == 2u) {
        value = activate(ACT, value);
    } else if (THEN == 3u) {
        var factor = second * scale;
        if (BIAS != 0u) {
            let at = tile_weights() + second_step() + min(vec4(n) + vec4(0u, 1u, 2u, 3u), vec4(last));
            factor += vec4<f32>(bias[at.x], bias[at.y], bias[at.z], bias[at.w]);
        }
        value = activate(ACT, gates_of(value)) * ups_of(factor);
    }
    y[(y_row(r) * OUT_STRIDE + FIRST_OUT + n) / 4u] = value;
}
