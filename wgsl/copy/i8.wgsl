// The copy of a value as int8, in blocks of 16 with a scale each: what integer dot products multiply.
//
// With COPY_NORM it is the copy of a value that is normalised next: value · norm weight, and the sum of squares of each block.
// Whoever multiplies it divides by the root mean square at the end: the scale of a row does not change its int8.
// A unit is 64 numbers, four blocks. In vectors of four words: int8 of the first blocks of all units, of the second, third and
// fourth ones; the four scales of each unit; scale · Σ of its four blocks; then one sum of squares, a word, for each block.

override COPY_COLS: u32 = 64u;
override COPY_STRIDE: u32 = 64u;   // words from a row to the next
override COPY_NORM: u32 = 0u;

@group(0) @binding(6) var<storage, read> norm: array<f32>;            // [COPY_COLS], or anything
@group(0) @binding(7) var<storage, read_write> activation_copy: array<u32>;

var<workgroup> copy_values: array<f32, WORKGROUP>; // weighted
var<workgroup> copy_squares: array<f32, WORKGROUP>;
var<private> copy_weight: f32 = 1.0;

// Asks for what the copy of the i-th number needs, long before it is needed.
fn begin_copy(i: u32) {
    if (COPY_NORM == 1u) {
        copy_weight = norm[i];
    }
}

fn four_values(at: u32) -> vec4<f32> {
    return vec4<f32>(copy_values[at], copy_values[at + 1u], copy_values[at + 2u], copy_values[at + 3u]);
}

fn four_squares(at: u32) -> vec4<f32> {
    return vec4<f32>(copy_squares[at], copy_squares[at + 1u], copy_squares[at + 2u], copy_squares[at + 3u]);
}

// Writes the copy of `value`, the i-th number of row r. Called by whole workgroups, with a barrier between two calls;
// 16 neighbours are 16 numbers of a block.
fn emit_copy(r: u32, i: u32, value: f32, valid: bool, local: u32) {
    copy_values[local] = select(0.0, value * copy_weight, valid);
    if (COPY_NORM == 1u) {
        copy_squares[local] = select(0.0, value * value, valid);
    }
    workgroupBarrier();
    if (!valid || local % 4u != 0u) {
        return;
    }
    // Each fourth invocation packs a word; the first of a block also sums what belongs to the whole.
    let block = local / 16u * 16u;
    let a = four_values(block);
    let b = four_values(block + 4u);
    let c = four_values(block + 8u);
    let d = four_values(block + 12u);
    let most = max(max(abs(a), abs(b)), max(abs(c), abs(d)));
    let largest = max(max(most.x, most.y), max(most.z, most.w));
    let steps = select(0.0, 127.0 / largest, largest > 0.0);
    let units = (COPY_COLS + 63u) / 64u;
    let start = r * COPY_STRIDE;
    let unit = i / 64u;
    let nth = i / 16u % 4u;
    activation_copy[start + (nth * units + unit) * 4u + i / 4u % 4u] = pack4xI8(vec4<i32>(round(steps * four_values(local))));
    if (local == block) {
        let total = dot(round(steps * a) + round(steps * b) + round(steps * c) + round(steps * d), vec4<f32>(1.0));
        let scale = largest / 127.0;
        activation_copy[start + (4u * units + unit) * 4u + nth] = bitcast<u32>(scale);
        activation_copy[start + (5u * units + unit) * 4u + nth] = bitcast<u32>(scale * total);
        if (COPY_NORM == 1u) {
            let squares = four_squares(block) + four_squares(block + 4u) + four_squares(block + 8u) + four_squares(block + 12u);
            activation_copy[start + 24u * units + i / 16u] = bitcast<u32>(dot(squares, vec4<f32>(1.0)));
        }
    }
}
