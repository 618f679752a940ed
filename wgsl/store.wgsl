// cache[slot of r, position of r] = x[r]

import package::lib::grid::flat;
import package::cache::CacheFour;
import package::lib::kv_layout::key_index;
import package::lib::kv_layout::page_of;
import package::lib::kv_layout::value_index;

override COLS: u32 = 64u;
override STRIDE: u32 = 64u;
override KEYS: u32 = 0u;     // 1: the cache holds keys

@group(0) @binding(0) var<storage, read> step: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;                // [rows, STRIDE]
@group(0) @binding(2) var<storage, read_write> cache: array<CacheFour>;      // see lib/kv_layout.wgsl

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = flat(group) * 64u + lane;
    let fours = COLS / 4u;
    let r = i / fours;
    if (r >= step[0].x) {
        return;
    }
    let row = step[1u + r];
    let four = i % fours;
    let page = page_of(row.y, row.z);
    let place = select(value_index(page, row.z, four), key_index(page, row.z, four), KEYS == 1u);
    cache[place] = cache_pack(x[r * (STRIDE / 4u) + i % fours]);
}
