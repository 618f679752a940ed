// Queries, keys and values, whose rows follow each other: queries and keys turn by their position, keys and values go into
// their caches. Pairs are neighbours. One row.

import package::cache::CachePair;

override Q_ROWS: u32 = 64u;
override K_ROWS: u32 = 64u;
override HEAD_DIM: u32 = 64u;
override ROTARY: u32 = 0u;        // numbers of a head that turn
override CONTEXT: u32 = 1u;
override KV_COLS: u32 = 64u;

@group(0) @binding(2) var<storage, read_write> y: array<vec2<f32>>;        // [Q_ROWS / 2]
@group(0) @binding(3) var<storage, read> turns: array<vec2<f32>>;          // [positions, ROTARY / 2] of (cos, sin), or anything
@group(0) @binding(4) var<storage, read_write> keys: array<CachePair>;     // [slots, CONTEXT, KV_COLS / 2]
@group(0) @binding(5) var<storage, read_write> values: array<CachePair>;   // [slots, CONTEXT, KV_COLS / 2]

var<private> place: u32; // of this row in the caches
var<private> ahead: vec2<f32>;

fn begin(r: u32, first_pair: u32, local: u32) {
    if (local >= PAIRS) {
        return;
    }
    let row = step[1];
    place = (row.y * CONTEXT + row.z) * (KV_COLS / 2u);
    let pair = first_pair + local;
    let p = pair % (HEAD_DIM / 2u);
    ahead = vec2<f32>(1.0, 0.0);
    if (2u * pair < Q_ROWS + K_ROWS && p < ROTARY / 2u) {
        ahead = turns[row.z * (ROTARY / 2u) + p];
    }
}

fn finish(r: u32, first_pair: u32, local: u32) {
    let pair = first_pair + local;
    if (local >= PAIRS || 2u * pair >= N) {
        return;
    }
    var sum = sums_of(local) * scale();
    sum = vec2<f32>(sum.x * ahead.x - sum.y * ahead.y, sum.x * ahead.y + sum.y * ahead.x);
    if (2u * pair < Q_ROWS) {
        y[pair] = sum;
    } else if (2u * pair < Q_ROWS + K_ROWS) {
        keys[place + pair - Q_ROWS / 2u] = cache_pack_pair(sum);
    } else {
        values[place + pair - (Q_ROWS + K_ROWS) / 2u] = cache_pack_pair(sum);
    }
}
