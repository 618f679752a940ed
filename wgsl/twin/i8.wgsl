// The twin of a value as int8, in blocks of 16 with a scale each: what integer dot products multiply.
//
// With TWIN_NORM it is the twin of a value that is normalised next: value · norm weight, and the sum of squares of each block.
// Whoever multiplies it divides by the root mean square at the end: the scale of a row does not change its int8.
// Words: [0, COLS/4) four int8 each; then for each 32 numbers (scale, scale, scale · Σ, scale · Σ) of its two blocks; then one sum
// of squares a block.

override TWIN_COLS: u32 = 64u;
override TWIN_NORM: u32 = 0u;

@group(0) @binding(6) var<storage, read> norm: array<f32>;            // [TWIN_COLS], or anything
@group(0) @binding(7) var<storage, read_write> twin: array<u32>;

var<workgroup> twin_values: array<vec2<f32>, WORKGROUP>; // weighted, and as it is
var<private> twin_weight: f32 = 1.0;

// Asks for what the twin of the i-th number needs, long before it is needed.
fn begin_twin(i: u32) {
    if (TWIN_NORM == 1u) {
        twin_weight = norm[i];
    }
}

// Writes the twin of `value`, the i-th number of its row. Called by whole workgroups, with a barrier between two calls;
// 16 neighbours are 16 numbers of a block.
fn emit(i: u32, value: f32, valid: bool, local: u32) {
    twin_values[local] = select(vec2<f32>(), vec2<f32>(value * twin_weight, value), valid);
    workgroupBarrier();
    if (!valid || local % 4u != 0u) {
        return;
    }
    // Each fourth invocation packs a word; the first of a block also sums what belongs to the whole.
    let block = local / 16u * 16u;
    var largest = 0.0;
    for (var k = 0u; k < 16u; k++) {
        largest = max(largest, abs(twin_values[block + k].x));
    }
    let steps = select(0.0, 127.0 / largest, largest > 0.0);
    twin[i / 4u] = pack4xI8(vec4<i32>(round(steps * vec4<f32>(
        twin_values[local].x, twin_values[local + 1u].x, twin_values[local + 2u].x, twin_values[local + 3u].x,
    ))));
    if (local == block) {
        var total = 0.0;
        var squares = 0.0;
        for (var k = 0u; k < 16u; k++) {
            total += round(steps * twin_values[block + k].x);
            squares += twin_values[block + k].y * twin_values[block + k].y;
        }
        let scale = largest / 127.0;
        let at = TWIN_COLS / 4u + i / 32u * 4u + i / 16u % 2u;
        twin[at] = bitcast<u32>(scale);
        twin[at + 2u] = bitcast<u32>(scale * total);
        if (TWIN_NORM == 1u) {
            twin[TWIN_COLS / 4u + TWIN_COLS / 8u + i / 16u] = bitcast<u32>(squares);
        }
    }
}
