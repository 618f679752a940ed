// A KV cache in f16, packed in u32 so that no adapter needs f16 arithmetic: four numbers are one vec2.

alias CacheFour = vec2<u32>;

fn cache_load(four: CacheFour) -> vec4<f32> {
    return vec4<f32>(unpack2x16float(four.x), unpack2x16float(four.y));
}

fn cache_pack(x: vec4<f32>) -> CacheFour {
    return vec2<u32>(cache_pack_pair(x.xy), cache_pack_pair(x.zw));
}

alias CachePair = u32;

fn cache_pack_pair(x: vec2<f32>) -> CachePair {
    // Beyond f16's range the largest f16 is kept: an infinity would poison every later token.
    return pack2x16float(clamp(x, vec2<f32>(-65504.0), vec2<f32>(65504.0)));
}
