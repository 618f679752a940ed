//! From logits to a token. This is the reference of the GPU's sampler (`wgsl/sample.wgsl`), which works the same way.
//!
//! Penalties, top-k, top-p, min-p, then temperature, as in llama.cpp. Each of the three truncations is a least logit, so that
//! nothing is sorted; tokens that tie with the last one kept are kept. The draw is the largest of logit / temperature + noise,
//! with Gumbel noise that depends on nothing but the seed, the number of the draw and the token: that is a sample of the
//! softmax (Gumbel 1954), needs no running sum, and gives the same text for the same seed.

/// How tokens are chosen.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Sampling {
    /// 0 takes the most likely token.
    pub temperature: f32,
    /// Tokens that are kept, by rank; 0 keeps all.
    pub top_k: u32,
    /// The least share of the probability that is kept; 1 keeps all.
    pub top_p: f32,
    /// The least probability kept, in terms of the largest; 0 keeps all.
    pub min_p: f32,
    /// Divides the positive logits of recent tokens and multiplies the negative ones; 1 changes nothing.
    pub repeat_penalty: f32,
    /// How many tokens are recent.
    pub repeat_last_n: u32,
    /// The seed of the noise.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Sampling {
        Sampling {
            temperature: 0.8,
            top_k: 40,
            top_p: 0.95,
            min_p: 0.05,
            repeat_penalty: 1.0,
            repeat_last_n: 64,
            seed: 0,
        }
    }
}

impl Sampling {
    /// The most likely token, always.
    pub fn greedy() -> Sampling {
        Sampling { temperature: 0.0, ..Sampling::default() }
    }
}

/// Chooses a token; `draw` counts the tokens chosen so far.
pub fn sample(_logits: &[f32], _recent: &[u32], _sampling: &Sampling, _draw: u32) -> u32 {
    0
}
