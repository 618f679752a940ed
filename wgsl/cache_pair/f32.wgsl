// Keys or values in f32, written two numbers at a time. The kernel declares caches, an array of pairs.

import package::lib::kv_layout::cache_index;

alias CachePair = vec2<f32>;

// Where a pair of a position is, counted over all heads.
fn cache_pair(page: u32, position: u32, pair: u32) -> u32 {
    return 2u * cache_index(page * PAGE * KV_FOURS, KV_FOURS, position, pair / 2u) + pair % 2u;
}

fn cache_pack_pair(x: vec2<f32>) -> CachePair {
    return x;
}
