//! From logits to a token. This is the reference of the GPU's sampler (`wgsl/sample.wgsl`), which works the same way.
//!
//! Banned tokens, penalties, top-k, top-p, min-p, then temperature, as in llama.cpp. Each of the three truncations is a least logit, so that
//! nothing is sorted; tokens that tie with the last one kept are kept. The draw is the largest of logit / temperature + noise,
//! with Gumbel noise that depends on nothing but the seed, the position and the token: that is a sample of the
//! softmax (Gumbel 1954), needs no running sum, and gives the same text for the same seed.
//!
//! Logits are compared by their keys, as on the GPU: a NaN is never chosen, and an infinity counts as ±1e30.

mod sampling;

use std::collections::HashMap;

use crate::error::{Error, Result};
pub use sampling::Sampling;

/// What the GPU writes in place of a token where there is none to choose: see [`no_token`].
pub const NO_TOKEN: u32 = u32::MAX;

/// The error for a row of logits without a single number among the tokens that are not banned.
pub fn no_token() -> Error {
    Error::Model(
        "every logit is NaN, so there is no token to choose; `wgllm check` finds the node it begins at"
            .into(),
    )
}

/// Chooses a token; `position` is where the logits were computed, `recent` ends with the last token.
pub fn sample(logits: &[f32], recent: &[u32], sampling: &Sampling, position: u32) -> Result<u32> {
    let mut kept = Kept::all(logits);
    kept.ban(&sampling.banned);
    if sampling.penalizes() {
        kept.penalize(recent, sampling);
    }
    kept.0.retain(|&(key, _)| key > 0);
    let most = kept.0.iter().map(|&(key, _)| key).max().ok_or_else(no_token)?;
    if sampling.is_greedy() {
        return kept.0.iter().find(|&&(key, _)| key == most).map(|&(_, token)| token).ok_or_else(no_token);
    }
    kept.truncate(sampling, most);
    let score = |&(key, token): &(u32, u32)| {
        (value(key) - value(most)) as f64 / sampling.temperature as f64
            + gumbel(sampling.seed, position, token)
    };
    // The first of equals: `max_by` alone would take the last.
    let best = kept.0.iter().map(|c| (score(c), c.1)).max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)));
    best.map(|(_, token)| token).ok_or_else(no_token)
}

/// The same behind biases and the penalties that count what was `generated`: logit + bias − presence − frequency · count.
pub fn sample_adjusted(
    logits: &[f32],
    recent: &[u32],
    generated: &[u32],
    sampling: &Sampling,
    position: u32,
) -> Result<u32> {
    if !sampling.adjusts() {
        return sample(logits, recent, sampling, position);
    }
    let mut logits = logits.to_vec();
    let mut counts = HashMap::new();
    for token in generated {
        *counts.entry(token).or_insert(0) += 1;
    }
    for (&token, count) in counts {
        if let Some(logit) = logits.get_mut(token as usize) {
            *logit -= sampling.presence_penalty + sampling.frequency_penalty * count as f32;
        }
    }
    for &(token, bias) in &sampling.bias {
        if let Some(logit) = logits.get_mut(token as usize) {
            *logit += bias;
        }
    }
    sample(&logits, recent, sampling, position)
}

/// The tokens in the running: (key of the logit, token), in the order of tokens.
struct Kept(Vec<(u32, u32)>);

impl Kept {
    fn all(logits: &[f32]) -> Kept {
        Kept(logits.iter().zip(0..).map(|(&logit, token)| (key(logit), token)).collect())
    }

    /// Takes tokens out of the running, as if their logits were no numbers.
    fn ban(&mut self, banned: &[u32]) {
        for &token in banned {
            if let Some((key, _)) = self.0.get_mut(token as usize) {
                *key = 0;
            }
        }
    }

    /// Makes the recent tokens less likely, each once, however often it occurs (Keskar et al. 2019, arXiv 1909.05858).
    fn penalize(&mut self, recent: &[u32], sampling: &Sampling) {
        let window = &recent[recent.len().saturating_sub(sampling.repeat_last_n as usize)..];
        let mut seen = vec![false; self.0.len()];
        for &token in window {
            let Some(seen) = seen.get_mut(token as usize) else { continue };
            let (of, _) = &mut self.0[token as usize];
            if !std::mem::replace(seen, true) && *of > 0 {
                let (logit, penalty) = (value(*of), sampling.repeat_penalty);
                *of = key(if logit > 0.0 { logit / penalty } else { logit * penalty });
            }
        }
    }

    /// Top-k, then top-p of the softmax of what is left, then min-p.
    fn truncate(&mut self, sampling: &Sampling, most: u32) {
        if (1..self.0.len()).contains(&(sampling.top_k as usize)) {
            let rank = |least| self.0.iter().filter(|c| c.0 >= least).count();
            let least = greatest(|least| rank(least) >= sampling.top_k as usize);
            self.0.retain(|c| c.0 >= least);
        }
        if sampling.top_p < 1.0 {
            let weight = |key: u32| ((value(key) - value(most)) as f64).exp();
            let weights: Vec<(u32, f64)> = self.0.iter().map(|c| (c.0, weight(c.0))).collect();
            let mass = |least| weights.iter().filter(|w| w.0 >= least).map(|w| w.1).sum::<f64>();
            let share = sampling.top_p as f64 * mass(0);
            // What is above the next key has less than the share, and what is from this one on has it.
            let least = greatest(|least| mass(least) >= share).min(most);
            self.0.retain(|c| c.0 >= least);
        }
        if sampling.min_p > 0.0 {
            let least = key(value(most) + sampling.min_p.ln()).min(most);
            self.0.retain(|c| c.0 >= least);
        }
    }
}

/// The greatest key that passes a test which lesser keys pass too.
fn greatest(passes: impl Fn(u32) -> bool) -> u32 {
    (0..32).rev().map(|bit| 1 << bit).fold(0, |key, bit| if passes(key | bit) { key | bit } else { key })
}

/// A number whose order is that of the logits: 0 for NaN; the same for ±0.
fn key(logit: f32) -> u32 {
    let magnitude = (logit.to_bits() & 0x7fff_ffff).min(1e30f32.to_bits());
    match (logit.is_nan(), logit.is_sign_negative()) {
        (true, _) => 0,
        (_, false) => 0x8000_0000 + magnitude,
        (_, true) => 0x8000_0000 - magnitude,
    }
}

/// The logit of a key that is not 0.
fn value(key: u32) -> f32 {
    match key.checked_sub(0x8000_0000) {
        Some(magnitude) => f32::from_bits(magnitude),
        None => -f32::from_bits(0x8000_0000 - key),
    }
}

/// −ln(−ln u), where 1 − u is a uniform number of 32 bits that the seed, the position and the token decide.
fn gumbel(seed: u64, position: u32, token: u32) -> f64 {
    let uniform = (hash([seed as u32, (seed >> 32) as u32, position, token]) as f64 + 0.5) / 4294967296.0;
    -(-(-uniform).ln_1p()).ln()
}

/// The last word of pcg4d (Jarzynski and Olano 2020, "Hash Functions for GPU Rendering").
fn hash(words: [u32; 4]) -> u32 {
    let [mut x, mut y, mut z, mut w] = words.map(|v| v.wrapping_mul(1664525).wrapping_add(1013904223));
    for round in 0..2 {
        if round == 1 {
            [x, y, z, w] = [x, y, z, w].map(|v| v ^ (v >> 16));
        }
        x = x.wrapping_add(y.wrapping_mul(w));
        y = y.wrapping_add(z.wrapping_mul(x));
        z = z.wrapping_add(x.wrapping_mul(y));
        w = w.wrapping_add(y.wrapping_mul(z));
    }
    w
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Logits that look like a model's, some of them equal.
    fn logits(count: u32, seed: u64) -> Vec<f32> {
        (0..count).map(|t| (gumbel(seed, 0, t) * 8.0).round() as f32 / 4.0).collect()
    }

    const OPEN: Sampling = Sampling {
        temperature: 1.0,
        top_k: 0,
        top_p: 1.0,
        min_p: 0.0,
        repeat_penalty: 1.0,
        repeat_last_n: 64,
        seed: 7,
        banned: Vec::new(),
        bias: Vec::new(),
        presence_penalty: 0.0,
        frequency_penalty: 0.0,
        logprobs: None,
        constraint: None,
    };

    fn kept(logits: &[f32], sampling: &Sampling) -> Vec<u32> {
        let mut kept = Kept::all(logits);
        let most = kept.0.iter().map(|c| c.0).max().unwrap();
        kept.truncate(sampling, most);
        kept.0.into_iter().map(|c| c.1).collect()
    }

    #[test]
    fn draws_follow_the_softmax_of_logit_over_temperature() {
        let (logits, draws) = (logits(24, 3), 40_000);
        for temperature in [0.5, 1.0, 2.0] {
            for seed in [0, 1, u64::MAX] {
                let sampling = Sampling { temperature, seed, ..OPEN };
                let mut counts = vec![0.0; logits.len()];
                for draw in 0..draws {
                    counts[sample(&logits, &[], &sampling, draw).unwrap() as usize] += 1.0;
                }
                let weights: Vec<f64> =
                    logits.iter().map(|&l| (l as f64 / temperature as f64).exp()).collect();
                let all: f64 = weights.iter().sum();
                // Tokens that are expected less than five times are counted together.
                let (mut chi, mut cells, mut rest) = (0.0, 0.0, (0.0, 0.0));
                for (count, weight) in counts.iter().zip(&weights) {
                    let expected = weight / all * draws as f64;
                    if expected < 5.0 {
                        rest = (rest.0 + count, rest.1 + expected);
                        continue;
                    }
                    chi += (count - expected).powi(2) / expected;
                    cells += 1.0;
                }
                if rest.1 > 0.0 {
                    chi += (rest.0 - rest.1).powi(2) / rest.1.max(1.0);
                    cells += 1.0;
                }
                // P(χ² > d + 2√(dx) + 2x) < e⁻ˣ (Laurent and Massart 2000, lemma 1); here 1e-6.
                let (d, x): (f64, f64) = (cells - 1.0, 1e6f64.ln());
                let bound = d + 2.0 * (d * x).sqrt() + 2.0 * x;
                assert!(chi < bound, "temperature {temperature}, seed {seed}: χ² = {chi} of {bound}");
            }
        }
    }

    #[test]
    fn truncations_keep_what_a_sorted_list_keeps() {
        for (count, seed) in [(1, 1), (2, 2), (31, 3), (1000, 4)] {
            let logits = logits(count, seed);
            let mut sorted: Vec<u32> = (0..count).collect();
            sorted.sort_by(|&a, &b| logits[b as usize].total_cmp(&logits[a as usize]));
            let logit = |rank: usize| logits[sorted[rank] as usize];
            for top_k in [0, 1, 2, 30, 31, 500, 2000] {
                for top_p in [0.0, 0.1, 0.5, 0.95, 1.0] {
                    for min_p in [0.0, 0.05, 0.5, 1.0] {
                        let k = if top_k == 0 { count } else { top_k.min(count) } as usize;
                        let in_k = (0..count as usize).filter(|&r| logit(r) >= logit(k - 1)).count();
                        let weight = |rank: usize| ((logit(rank) - logit(0)) as f64).exp();
                        let all: f64 = (0..in_k).map(weight).sum();
                        let mut expected: Vec<u32> = (0..in_k)
                            .filter(|&r| {
                                let greater: f64 = (0..r).filter(|&o| logit(o) > logit(r)).map(weight).sum();
                                let first = logit(r) == logit(0);
                                (first || greater / all < top_p as f64) && weight(r) >= min_p as f64 - 1e-9
                            })
                            .map(|r| sorted[r])
                            .collect();
                        expected.sort();
                        let sampling = Sampling { top_k, top_p, min_p, ..OPEN };
                        assert_eq!(kept(&logits, &sampling), expected, "{count} logits, {sampling:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_recent_token_is_penalized_once_and_only_within_the_window() {
        let sampling = Sampling { repeat_penalty: 2.0, repeat_last_n: 3, ..OPEN };
        let mut kept = Kept::all(&[4.0, -4.0, 4.0, f32::NAN, 0.0]);
        kept.penalize(&[2, 0, 0, 1], &sampling);
        let logits: Vec<f32> = kept.0.iter().filter(|c| c.0 > 0).map(|&(key, _)| value(key)).collect();
        assert_eq!(logits, [2.0, -8.0, 4.0, 0.0]);
        assert_eq!(kept.0[3].0, 0);
        // Tokens outside of the vocabulary change nothing.
        assert_eq!(
            sample(&[1.0, 2.0], &[9, u32::MAX], &Sampling { temperature: 0.0, ..sampling }, 0).unwrap(),
            1
        );
    }

    #[test]
    fn a_window_of_all_takes_time_in_proportion_to_its_length() {
        // Every token once: comparing each with all before it would take 10¹⁰ comparisons.
        let logits: Vec<f32> = logits(150_000, 5);
        let recent: Vec<u32> = (0..150_000).collect();
        let sampling = Sampling { repeat_penalty: 1.1, repeat_last_n: u32::MAX, ..Sampling::greedy() };
        let start = std::time::Instant::now();
        sample(&logits, &recent, &sampling, 0).unwrap();
        assert!(start.elapsed().as_millis() < 1000, "{:?}", start.elapsed());
    }

    #[test]
    fn a_banned_token_is_never_chosen() {
        let logits = logits(40, 9);
        let best = sample(&logits, &[], &Sampling::greedy(), 0).unwrap();
        let banned = vec![best, 3, 5, 40, u32::MAX];
        for open in [OPEN, Sampling::greedy(), Sampling::default()] {
            let sampling = Sampling { banned: banned.clone(), repeat_penalty: 1.5, ..open };
            for draw in 0..500 {
                let token = sample(&logits, &[best, 3, 7], &sampling, draw).unwrap();
                assert!(!banned.contains(&token), "token {token}, {sampling:?}");
            }
        }
        let all = Sampling { banned: (0..40).collect(), ..OPEN };
        assert!(sample(&logits, &[], &all, 0).is_err());
    }

    #[test]
    fn biases_and_penalties_change_logits_by_what_they_say() {
        let logits = [3.0, 2.5, 0.0, f32::NAN];
        let chosen = |generated: &[u32], sampling: Sampling| {
            sample_adjusted(&logits, &[], generated, &Sampling { temperature: 0.0, ..sampling }, 0).unwrap()
        };
        assert_eq!(chosen(&[0, 0], OPEN), 0);
        assert_eq!(chosen(&[], Sampling { bias: vec![(2, 3.1), (9, 50.0), (3, 50.0)], ..OPEN }), 2);
        assert_eq!(chosen(&[], Sampling { bias: vec![(0, f32::NEG_INFINITY)], ..OPEN }), 1);
        let presence = Sampling { presence_penalty: 0.4, ..OPEN };
        assert_eq!((chosen(&[0, 0], presence.clone()), chosen(&[0, 7], presence)), (0, 0));
        let frequency = Sampling { frequency_penalty: 0.4, ..OPEN };
        assert_eq!((chosen(&[0], frequency.clone()), chosen(&[0, 0], frequency)), (0, 1));
        assert!(!OPEN.is_for_host() && Sampling { logprobs: Some(0), ..OPEN }.is_for_host());
        assert!(Sampling { presence_penalty: f32::NAN, ..OPEN }.check().is_err());
    }

    #[test]
    fn greedy_takes_the_first_of_the_largest() {
        let greedy = Sampling::greedy();
        for (logits, expected) in [
            (vec![1.0, 3.0, 3.0], 1),
            (vec![-0.0, 0.0], 0),
            (vec![f32::NAN, -1.0], 1),
            (vec![f32::NEG_INFINITY, f32::INFINITY, 1e30], 1),
            (vec![f32::NEG_INFINITY; 3], 0),
        ] {
            assert_eq!(sample(&logits, &[], &greedy, 0).unwrap(), expected, "{logits:?}");
        }
    }

    #[test]
    fn nan_is_never_chosen_and_nothing_but_nan_is_an_error() {
        let logits = [f32::NAN, 0.0, -f32::NAN, f32::NEG_INFINITY, 0.0];
        for draw in 0..200 {
            assert!([1, 4].contains(&sample(&logits, &[], &OPEN, draw).unwrap()));
        }
        for sampling in [OPEN, Sampling::greedy(), Sampling::default()] {
            assert!(sample(&[f32::NAN; 3], &[0], &sampling, 0).is_err());
            assert!(sample(&[], &[], &sampling, 0).is_err());
        }
    }

    #[test]
    fn the_same_seed_and_draw_choose_the_same_token_and_others_differ() {
        let logits = vec![0.0; 1000];
        let text = |seed| {
            (0..20).map(|d| sample(&logits, &[], &Sampling { seed, ..OPEN }, d).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(text(1), text(1));
        assert_ne!(text(1), text(2));
        assert_ne!(text(1), text(1 << 32 | 1));
        // Golden: a change of the noise changes every user's text, so it should not go unnoticed.
        assert_eq!(text(1)[..4], [231, 427, 98, 821]);
    }

    #[test]
    fn a_setting_outside_its_range_is_an_error_with_its_name() {
        assert!(Sampling::default().check().is_ok() && Sampling::greedy().check().is_ok());
        for (sampling, name) in [
            (Sampling { temperature: -1.0, ..OPEN }, "temperature"),
            (Sampling { temperature: f32::NAN, ..OPEN }, "temperature"),
            (Sampling { top_p: 1.1, ..OPEN }, "top-p"),
            (Sampling { min_p: -0.1, ..OPEN }, "min-p"),
            (Sampling { repeat_penalty: 0.0, ..OPEN }, "repeat penalty"),
            (Sampling { banned: (0..32).collect(), ..OPEN }, "32 tokens"),
        ] {
            assert!(sampling.check().unwrap_err().to_string().starts_with(name));
        }
    }
}
