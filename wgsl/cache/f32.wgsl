// Keys or values in f32: an element is four numbers. The kernel declares caches, an array of elements.

import package::lib::kv_layout::cache_index;

alias CacheElement = vec4<f32>;
alias CachePlace = u32;           // where numbers of a head begin at a position
alias CacheFour = vec4<f32>;      // four numbers as they are stored

const CACHE_BLOCK: u32 = 4u;      // numbers that are rounded together
const CACHE_SCALES: u32 = 0u;     // elements of a head behind its numbers

// Positions that there is room for.
fn cache_positions() -> u32 {
    return arrayLength(&caches) / KV_FOURS;
}

// Where the numbers of a position begin that are in `four` and following, over all heads.
fn cache_place(page: u32, position: u32, four: u32) -> CachePlace {
    return cache_index(page * PAGE * KV_FOURS, KV_FOURS, position, four);
}

// The c-th four from a place on, which is in the same head.
fn cache_fetch(place: CachePlace, c: u32) -> CacheFour {
    return caches[place + c * CACHE_STEP];
}

fn cache_load(four: CacheFour) -> vec4<f32> {
    return four;
}

// The element of the c-th four from a place on, and what is in it; `largest` is the largest size of a number of its block.
fn cache_element(place: CachePlace, c: u32) -> u32 {
    return place + c * CACHE_STEP;
}

fn cache_pack(x: vec4<f32>, largest: f32) -> CacheElement {
    return x;
}

// The n-th element behind the numbers of a head, and what is in it, for blocks 2n and 2n + 1.
fn cache_scale_element(place: CachePlace, n: u32) -> u32 {
    return 0u;
}

fn cache_pack_scales(largest: vec2<f32>) -> CacheElement {
    return vec4<f32>();
}

// Four numbers as they come back from where they are kept.
fn cache_rounded(x: vec4<f32>, largest: f32) -> vec4<f32> {
    return x;
}

// The same in two steps: four numbers as they are stored, without what the numbers of their block are multiplied by; and the two factors that an element behind
// the numbers of a head has.
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
