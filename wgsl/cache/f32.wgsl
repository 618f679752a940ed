// A KV cache in f32: four numbers are one vec4.

alias CacheFour = vec4<f32>;

fn cache_load(four: CacheFour) -> vec4<f32> {
    return four;
}

fn cache_pack(x: vec4<f32>) -> CacheFour {
    return x;
}

alias CachePair = vec2<f32>;

fn cache_pack_pair(x: vec2<f32>) -> CachePair {
    return x;
}
