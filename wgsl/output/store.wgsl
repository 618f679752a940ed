// Queries, keys and values, whose rows follow each other: queries and keys turn by their position, keys and values go into
// their caches. Pairs are neighbours.

import package::keys::cache_pair::key_pack_pair;
import package::values::cache_pair::value_pack_pair;
import package::lib::kv_layout::page_of;
import package::rows::own::rows_of;

override Q_ROWS: u32 = 64u;
override K_ROWS: u32 = 64u;
override Q_STRIDE: u32 = 64u;     // from a row of y to the next
override HEAD_DIM: u32 = 64u;
override ROTARY: u32 = 0u;        // numbers of a head that turn

@group(0) @binding(2) var<storage, read_write> y: array<vec2<f32>>;        // [rows, Q_STRIDE / 2]
@group(0) @binding(3) var<storage, read> cos_sin: array<vec2<f32>>;          // [positions, ROTARY / 2] of (cos, sin), or anything
@group(0) @binding(4) var<storage, read_write> keys: array<KeyPair>;       // see lib/kv_layout.wgsl
@group(0) @binding(5) var<storage, read_write> values: array<ValuePair>;

var<private> ahead: vec2<f32>;

fn begin(r: u32, first_pair: u32, nth: u32) {
    if (nth >= PAIRS) {
        return;
    }
    let row = step[1u + r];
    let pair = first_pair + nth;
    let p = pair % (HEAD_DIM / 2u);
    ahead = vec2<f32>(1.0, 0.0);
    if (2u * pair < Q_ROWS + K_ROWS && p < ROTARY / 2u) {
        ahead = cos_sin[row.z * (ROTARY / 2u) + p];
    }
}

fn finish(r: u32, first_pair: u32, nth: u32, local: u32) {
    let pair = first_pair + nth;
    if (nth >= PAIRS || 2u * pair >= N) {
        return;
    }
    let row = step[1u + r];
    var sum = sums_of(nth) * scale();
    sum = vec2<f32>(sum.x * ahead.x - sum.y * ahead.y, sum.x * ahead.y + sum.y * ahead.x);
    if (2u * pair < Q_ROWS) {
        y[r * (Q_STRIDE / 2u) + pair] = sum;
    } else if (2u * pair < Q_ROWS + K_ROWS) {
        let p = pair - Q_ROWS / 2u;
        keys[key_pair(page_of(row.y, row.z), row.z, p)] = key_pack_pair(sum);
    } else {
        let p = pair - (Q_ROWS + K_ROWS) / 2u;
        values[value_pair(page_of(row.y, row.z), row.z, p)] = value_pack_pair(sum);
    }
}
