// y[r] = table[token of r], or table[position of r]

import package::lib::grid::flat;
import package::lib::row::row_units;
import package::weight::Unit;

override COLS: u32 = 64u;
override STRIDE: u32 = 64u;
override BY: u32 = 0u;          // 0: by token, 2: by position
override FIRST_ROW: u32 = 0u;   // rows of the table that are bound: a large one is in parts
override ROWS: u32 = 1u;

@group(0) @binding(0) var<storage, read> step: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;  // [rows, STRIDE]

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let r = flat(group);
    if (r >= step[0].x) {
        return;
    }
    let row = step[1u + r];
    let entry = select(row.x, row.z, BY == 2u) - FIRST_ROW;
    if (entry >= ROWS) {
        return;
    }
    for (var u = lane; u < row_units(); u += 64u) {
        let unit = load_unit(entry, u);
        for (var four = 0u; four < UNIT / 4u; four++) {
            let c = u * (UNIT / 4u) + four;
            if (c < STRIDE / 4u) {
                y[r * (STRIDE / 4u) + c] = unit_weights(unit, four);
            }
        }
    }
}
