// Keys or values in f16, packed in u32 so that no adapter needs f16 arithmetic: an element is four numbers. See f32.wgsl.

import package::lib::half::pack_halves;
import package::lib::kv_layout::cache_index;

alias CacheElement = vec2<u32>;
alias CachePlace = u32;
alias CacheFour = vec2<u32>;

const CACHE_BLOCK: u32 = 4u;
const CACHE_SCALES: u32 = 0u;

fn cache_positions() -> u32 {
    return arrayLength(&caches) / KV_FOURS;
}

fn cache_place(page: u32, position: u32, four: u32) -> CachePlace {
    return cache_index(page * PAGE * KV_FOURS, KV_FOURS, position, four);
}

fn cache_fetch(place: CachePlace, c: u32) -> CacheFour {
    return caches[place + c * CACHE_STEP];
}

fn cache_load(four: CacheFour) -> vec4<f32> {
    return vec4<f32>(unpack2x16float(four.x), unpack2x16float(four.y));
}

fn cache_element(place: CachePlace, c: u32) -> u32 {
    return place + c * CACHE_STEP;
}

fn cache_pack(x: vec4<f32>, largest: f32) -> CacheElement {
    return vec2<u32>(pack_halves(x.xy), pack_halves(x.zw));
}

fn cache_scale_element(place: CachePlace, n: u32) -> u32 {
    return 0u;
}

fn cache_pack_scales(largest: vec2<f32>) -> CacheElement {
    return vec2<u32>();
}

fn cache_rounded(x: vec4<f32>, largest: f32) -> vec4<f32> {
    return cache_load(cache_pack(x, largest));
}

// See f32.wgsl: there is nothing to multiply by.
alias CacheNumbers = CacheFour;

fn cache_numbers(place: CachePlace, c: u32) -> CacheNumbers {
    return cache_fetch(place, c);
}

fn cache_scale(place: CachePlace, c: u32) -> f32 {
    return 1.0;
}

fn cache_unscaled(numbers: CacheNumbers) -> vec4<f32> {
    return cache_load(numbers);
}

fn cache_scales_of(element: CacheElement) -> vec2<f32> {
    return vec2<f32>(1.0);
}
