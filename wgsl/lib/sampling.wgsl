// How tokens are chosen: `Sampling::words` in crates/engine/src/sampler.rs.

struct Sampling {
    temperature: f32,
    top_k: u32,
    top_p: f32,
    min_p: f32,
    penalty: f32,
    last_n: u32,
    seed: vec2<u32>,
}
