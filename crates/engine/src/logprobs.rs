//! How likely tokens are, by a row of logits as the model gave it: before temperature, penalties and truncations.

use std::cmp::Ordering;

/// The log probabilities of a token and of the likeliest ones.
#[derive(Clone, Debug, PartialEq)]
pub struct Logprobs {
    /// That of the token that was chosen.
    pub chosen: f32,
    /// The likeliest tokens, the likeliest first; of equals the first of the vocabulary comes first.
    pub top: Vec<(u32, f32)>,
}

impl Logprobs {
    /// log softmax of `logits` at `token` and at the `top` largest: logit − log Σ exp logit. NaN counts as −infinity.
    pub fn of(logits: &[f32], token: u32, top: usize) -> Logprobs {
        let numbers = || logits.iter().copied().filter(|l| !l.is_nan());
        let most = numbers().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = numbers().map(|l| ((l - most) as f64).exp()).sum();
        let log = |logit: f32| match logit.is_nan() {
            true => f32::NEG_INFINITY,
            false => ((logit - most) as f64 - sum.ln()) as f32,
        };
        let mut ids: Vec<u32> = (0..logits.len() as u32).filter(|&t| !logits[t as usize].is_nan()).collect();
        let rank = |a: &u32, b: &u32| -> Ordering {
            logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b))
        };
        let top = top.min(ids.len());
        if top < ids.len() {
            ids.select_nth_unstable_by(top, rank);
            ids.truncate(top);
        }
        ids.sort_unstable_by(rank);
        let chosen = logits.get(token as usize).map_or(f32::NEG_INFINITY, |&logit| log(logit));
        Logprobs { chosen, top: ids.into_iter().map(|t| (t, log(logits[t as usize]))).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_probabilities_are_those_of_the_softmax() {
        let logits = [1.0f32, 3.0, f32::NAN, 3.0, -2.0];
        let sum: f64 = [1.0f64, 3.0, 3.0, -2.0].iter().map(|l| l.exp()).sum();
        let found = Logprobs::of(&logits, 0, 3);
        let near = |a: f32, logit: f64| (a as f64 - (logit - sum.ln())).abs() < 1e-6;
        assert!(near(found.chosen, 1.0));
        assert_eq!(found.top.iter().map(|t| t.0).collect::<Vec<_>>(), [1, 3, 0]);
        assert!(near(found.top[0].1, 3.0) && near(found.top[2].1, 1.0));
        assert_eq!(Logprobs::of(&logits, 9, 0), Logprobs { chosen: f32::NEG_INFINITY, top: Vec::new() });
        assert_eq!(Logprobs::of(&logits, 1, 50).top.len(), 4);
    }
}
