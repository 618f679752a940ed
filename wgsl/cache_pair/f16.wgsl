// Keys or values in f16, written two numbers at a time. See f32.wgsl.

import package::lib::half::pack_halves;
import package::lib::kv_layout::cache_index;

alias CachePair = u32;

fn cache_pair(page: u32, position: u32, pair: u32) -> u32 {
    return 2u * cache_index(page * PAGE * KV_FOURS, KV_FOURS, position, pair / 2u) + pair % 2u;
}

fn cache_pack_pair(x: vec2<f32>) -> CachePair {
    return pack_halves(x);
}
