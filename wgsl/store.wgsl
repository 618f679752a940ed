// cache[slot of r, position of r] = x[r], as the cache's format stores it: an invocation for each four numbers.

import package::lib::grid::flat;
import package::keys::key_pack;
import package::values::value_pack;
import package::lib::kv_layout::page_of;

override FOURS: u32 = 16u;   // numbers of a head, in fours
override STRIDE: u32 = 64u;
override KEYS: u32 = 0u;     // 1: x is keys, 0: values

@group(0) @binding(0) var<storage, read> step: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;                   // [rows, STRIDE]
@group(0) @binding(4) var<storage, read_write> keys: array<KeyElement>;         // see lib/kv_layout.wgsl; or anything
@group(0) @binding(5) var<storage, read_write> values: array<ValueElement>;

// The largest size of the numbers of a block of the head that begins at `head`; 0 behind its end.
fn largest_of(head: u32, numbers: u32, block: u32) -> f32 {
    var largest = vec4<f32>();
    for (var c = block * numbers / 4u; c < min((block + 1u) * numbers / 4u, FOURS); c++) {
        largest = max(largest, abs(x[head + c]));
    }
    return max(max(largest.x, largest.y), max(largest.z, largest.w));
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = flat(group) * 64u + lane;
    let r = i / KV_FOURS;
    if (r >= step[0].x) {
        return;
    }
    let row = step[1u + r];
    let page = page_of(row.y, row.z);
    let c = i % KV_FOURS % FOURS;
    let first = i % KV_FOURS - c;
    let head = r * (STRIDE / 4u) + first;
    if (KEYS == 1u) {
        let place = key_place(page, row.z, first);
        keys[key_element(place, c)] = key_pack(x[head + c], largest_of(head, KEY_BLOCK, 4u * c / KEY_BLOCK));
        if (c < KEY_SCALES) {
            let largest = vec2<f32>(largest_of(head, KEY_BLOCK, 2u * c), largest_of(head, KEY_BLOCK, 2u * c + 1u));
            keys[key_scale_element(place, c)] = key_pack_scales(largest);
        }
    } else {
        let place = value_place(page, row.z, first);
        values[value_element(place, c)] = value_pack(x[head + c], largest_of(head, VALUE_BLOCK, 4u * c / VALUE_BLOCK));
        if (c < VALUE_SCALES) {
            let largest = vec2<f32>(largest_of(head, VALUE_BLOCK, 2u * c), largest_of(head, VALUE_BLOCK, 2u * c + 1u));
            values[value_scale_element(place, c)] = value_pack_scales(largest);
        }
    }
}
