// Keys or values as int8 with a scale in f16 for each 32 of them: an element is four int8, or two scales of a head. See f32.wgsl.

import package::lib::half::pack_halves;
import package::lib::kv_layout::cache_index;

override CACHE_SCALES: u32 = 1u;
override CACHE_HEAD_FOURS: u32 = 16u;   // numbers of a head, in fours

alias CacheElement = u32;
alias CachePlace = vec3<u32>;   // the first element, the first scales of the head, and which four of the head it is
alias CacheFour = vec2<u32>;    // four int8, and in the lower half their scale

const CACHE_BLOCK: u32 = 32u;
const CACHE_BLOCK_FOURS: u32 = 8u;

// Scales of a position, two to an element.
fn cache_scales() -> u32 {
    return KV_FOURS / CACHE_HEAD_FOURS * CACHE_SCALES;
}

fn cache_positions() -> u32 {
    return arrayLength(&caches) / (KV_FOURS + cache_scales());
}

fn cache_place(page: u32, position: u32, four: u32) -> CachePlace {
    let start = page * PAGE * (KV_FOURS + cache_scales());
    let scales = four / CACHE_HEAD_FOURS * CACHE_SCALES;
    return vec3<u32>(
        cache_index(start, KV_FOURS, position, four),
        cache_index(start + PAGE * KV_FOURS, cache_scales(), position, scales),
        four % CACHE_HEAD_FOURS,
    );
}

fn cache_fetch(place: CachePlace, c: u32) -> CacheFour {
    let block = (place.z + c) / CACHE_BLOCK_FOURS;
    let scales = caches[place.y + block / 2u * CACHE_STEP];
    return vec2<u32>(caches[place.x + c * CACHE_STEP], scales >> (16u * (block % 2u)));
}

fn cache_load(four: CacheFour) -> vec4<f32> {
    return unpack2x16float(four.y).x * vec4<f32>(unpack4xI8(four.x));
}

fn cache_element(place: CachePlace, c: u32) -> u32 {
    return place.x + c * CACHE_STEP;
}

// As ggml's quantize_row_q8_0_ref: halves are rounded away from zero.
fn cache_pack(x: vec4<f32>, largest: f32) -> CacheElement {
    let d = largest / 127.0;
    let steps = select(0.0, 1.0 / d, d > 0.0);
    let sizes = abs(x * steps);
    let whole = floor(sizes);
    let rounded = select(whole, whole + 1.0, sizes - whole >= vec4<f32>(0.5));
    let q = vec4<i32>(select(rounded, -rounded, x < vec4<f32>()));
    let bytes = vec4<u32>(q) & vec4<u32>(0xffu);
    return bytes.x | (bytes.y << 8u) | (bytes.z << 16u) | (bytes.w << 24u);
}

fn cache_scale_element(place: CachePlace, n: u32) -> u32 {
    return place.y + n * CACHE_STEP;
}

fn cache_pack_scales(largest: vec2<f32>) -> CacheElement {
    return pack_halves(largest / 127.0);
}

fn cache_rounded(x: vec4<f32>, largest: f32) -> vec4<f32> {
    return cache_load(vec2<u32>(cache_pack(x, largest), cache_pack_scales(vec2<f32>(largest))));
}

alias CacheNumbers = u32;

fn cache_numbers(place: CachePlace, c: u32) -> CacheNumbers {
    return caches[place.x + c * CACHE_STEP];
}

fn cache_scale(place: CachePlace, c: u32) -> f32 {
    let block = (place.z + c) / CACHE_BLOCK_FOURS;
    return cache_scales_of(caches[place.y + block / 2u * CACHE_STEP])[block % 2u];
}

fn cache_unscaled(numbers: CacheNumbers) -> vec4<f32> {
    return vec4<f32>(unpack4xI8(numbers));
}

fn cache_scales_of(element: CacheElement) -> vec2<f32> {
    return unpack2x16float(element);
}
