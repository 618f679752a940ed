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

var<workgroup> twin_values: array<f32, WORKGROUP>;
var<workgroup> twin_quants: array<i32, WORKGROUP>;

// Writes the twin of `value`, the i-th number of its row. Called by whole workgroups; 16 neighbours are 16 numbers of a block.
fn emit(i: u32, value: f32, valid: bool, local: u32) {
    var v = value;
    if (TWIN_NORM == 1u && valid) {
        v *= norm[i];
    }
    twin_values[local] = select(0.0, v, valid);
    workgroupBarrier();
    let block = local / 16u * 16u;
    var largest = 0.0;
    for (var k = 0u; k < 16u; k++) {
        largest = max(largest, abs(twin_values[block + k]));
    }
    let q = i32(round(twin_values[local] * select(0.0, 127.0 / largest, largest > 0.0)));
    twin_quants[local] = q;
    // The squares are of the values themselves, without the norm's weight.
    workgroupBarrier();
    twin_values[local] = select(0.0, value * value, valid);
    workgroupBarrier();
    if (valid && local % 4u == 0u) {
        twin[i / 4u] = pack4xI8(vec4<i32>(
            twin_quants[local], twin_quants[local + 1u], twin_quants[local + 2u], twin_quants[local + 3u],
        ));
    }
    if (valid && local % 16u == 0u) {
        var total = 0;
        var squares = 0.0;
        for (var k = 0u; k < 16u; k++) {
            total += twin_quants[block + k];
            squares += twin_values[block + k];
        }
        let scale = largest / 127.0;
        let at = TWIN_COLS / 4u + i / 32u * 4u + i / 16u % 2u;
        twin[at] = bitcast<u32>(scale);
        twin[at + 2u] = bitcast<u32>(scale * f32(total));
        if (TWIN_NORM == 1u) {
            twin[TWIN_COLS / 4u + TWIN_COLS / 8u + i / 16u] = bitcast<u32>(squares);
        }
    }
    workgroupBarrier();
}
