// The copy of a value that is normalised next, in f32: value · norm weight for each number, then the sum of squares of each 16.
//
// Whoever multiplies it divides by the root mean square at the end, so that no workgroup waits for another's squares.
// Words of a row: [0, 16·blocks) numbers, then one sum of squares a block; blocks of 16.

override COPY_COLS: u32 = 64u;
override COPY_STRIDE: u32 = 64u;   // words from a row to the next

@group(0) @binding(6) var<storage, read> norm: array<f32>;            // [COPY_COLS]
@group(0) @binding(7) var<storage, read_write> activation_copy: array<f32>;

var<workgroup> copy_values: array<f32, WORKGROUP>;
var<private> copy_weight: f32;

// Asks for what the copy of the i-th number needs, long before it is needed.
fn begin_copy(i: u32) {
    copy_weight = norm[i];
}

// Writes the copy of `value`, the i-th number of row r. Called by whole workgroups, with a barrier between two calls;
// 16 neighbours are 16 numbers of a block.
fn emit_copy(r: u32, i: u32, value: f32, valid: bool, local: u32) {
    copy_values[local] = select(0.0, value, valid);
    if (valid) {
        activation_copy[r * COPY_STRIDE + i] = value * copy_weight;
    }
    workgroupBarrier();
    if (valid && local % 16u == 0u) {
        var squares = 0.0;
        for (var k = 0u; k < 16u; k++) {
            squares += copy_values[local + k] * copy_values[local + k];
        }
        activation_copy[r * COPY_STRIDE + (COPY_COLS + 15u) / 16u * 16u + i / 16u] = squares;
    }
}
