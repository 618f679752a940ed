// The twin of a value that is normalised next, in f32: value · norm weight for each number, then the sum of squares of each 16.
//
// Whoever multiplies it divides by the root mean square at the end, so that no workgroup waits for another's squares.
// Words: [0, 16·blocks) numbers, then one sum of squares a block; blocks of 16.

override TWIN_COLS: u32 = 64u;

@group(0) @binding(6) var<storage, read> norm: array<f32>;            // [TWIN_COLS]
@group(0) @binding(7) var<storage, read_write> twin: array<f32>;

var<workgroup> twin_values: array<f32, WORKGROUP>;
var<private> twin_weight: f32;

// Asks for what the twin of the i-th number needs, long before it is needed.
fn begin_twin(i: u32) {
    twin_weight = norm[i];
}

// Writes the twin of `value`, the i-th number of its row. Called by whole workgroups, with a barrier between two calls;
// 16 neighbours are 16 numbers of a block.
fn emit(i: u32, value: f32, valid: bool, local: u32) {
    twin_values[local] = select(0.0, value, valid);
    if (valid) {
        twin[i] = value * twin_weight;
    }
    workgroupBarrier();
    if (valid && local % 16u == 0u) {
        var squares = 0.0;
        for (var k = 0u; k < 16u; k++) {
            squares += twin_values[local + k] * twin_values[local + k];
        }
        twin[(TWIN_COLS + 15u) / 16u * 16u + i / 16u] = squares;
    }
}
