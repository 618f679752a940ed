// y[r] = FACTOR · table[token of r], or of table[position of r]; and the copy of y for what normalises it next.

import package::lib::grid::flat;
import package::lib::row::row_units;
import package::copy::begin_copy;
import package::copy::emit_copy;
import package::weight::Unit;

override COLS: u32 = 64u;
override STRIDE: u32 = 64u;
override FACTOR: f32 = 1.0;
override BY: u32 = 0u;          // 0: by token, 2: by position
override FIRST_ROW: u32 = 0u;   // rows of the table that are bound: a large one is in parts
override ROWS: u32 = 1u;
override WORKGROUP: u32 = 64u;

@group(0) @binding(0) var<storage, read> step: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;   // [rows, STRIDE]

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let groups = (COLS + WORKGROUP - 1u) / WORKGROUP;
    let r = flat(group) / groups;
    let c = flat(group) % groups * WORKGROUP + lane;
    // Past the rows, where folding may lead, there may be no step to read.
    let row = step[min(1u + r, arrayLength(&step) - 1u)];
    let entry = select(row.x, row.z, BY == 2u) - FIRST_ROW;
    let valid = r < step[0].x && entry < ROWS && c < COLS;
    var value = 0.0;
    if (valid) {
        begin_copy(c);
        value = FACTOR * unit_weights(load_unit(entry, c / UNIT), c % UNIT / 4u)[c % 4u];
        y[r * STRIDE + c] = value;
    }
    emit_copy(r, c, value, valid, lane);
}
