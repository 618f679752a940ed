//! Which experts a row goes to, and with which weights.      Shazeer et al. 2017, arXiv 1701.06538; Jiang et al. 2024, arXiv 2401.04088
//!
//! s = scoring(factor · logits), which grows with them: without bias and groups those of the largest logits are chosen. The chosen are the `used` largest of s + bias, of equal ones the first; their weights are s, divided by their sum
//! where `normalise` says so, times `scale`, and times each expert's factor where there are such. With groups, experts are in as many stretches, a stretch counts as much as the
//! `group_best` largest s + bias in it together, and only the best `groups_used` may be chosen from (one: DeepSeek-AI 2024, arXiv 2405.04434;
//! two: arXiv 2412.19437).

use crate::graph::{Shape, Step};
use crate::ops::{Value, must};

/// What a router's logits become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scoring {
    /// e^x over the sum of all experts' e^x.
    Softmax,
    /// 1 / (1 + e⁻ˣ).
    Sigmoid,
}

/// The choice of experts by a router's logits `[rows, experts]`; inputs behind them are a bias for the choice alone and factors of the
/// experts' weights, each if there is one. The result is, for each
/// row, the numbers of the `used` experts from the largest on and then their weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Route {
    /// Experts that a row goes to.
    pub used: usize,
    /// What logits become.
    pub scoring: Scoring,
    /// Factor of the logits, greater than 0.
    pub factor: f32,
    /// Whether weights are divided by their sum, and what is added to that sum.
    pub normalise: Option<f32>,
    /// Factor of the weights.
    pub scale: f32,
    /// Whether the last input is a factor for each expert's weight.
    pub factors: bool,
    /// Stretches of the experts.
    pub groups: usize,
    /// Stretches that may be chosen from.
    pub groups_used: usize,
    /// How many experts of a stretch, the best, make what it counts: 1 or 2.
    pub group_best: usize,
}

impl Route {
    pub(super) fn bound(&self) -> f64 {
        1e-7
    }

    pub(super) fn shape(&self, inputs: &[Shape]) -> Shape {
        let experts = inputs[0].cols;
        must("route", self.used >= 1 && self.used <= experts, "not as many experts as a row goes to");
        must("route", experts.is_multiple_of(self.groups), "the experts are not whole groups");
        must("route", [1, 2].contains(&self.group_best), "groups compare by their best one or two experts");
        let each = inputs[1..].iter().all(|b| b.cols == experts);
        must("route", each, "not one bias and one factor for each expert");
        Shape { cols: 2 * self.used, ..inputs[0] }
    }

    pub(super) fn reference(&self, _: &Step, inputs: &[Value<'_>], out: &mut [f32]) {
        let (logits, experts) = inputs[0].rows();
        let bias = self.bias(inputs).map_or(vec![0.0; experts], |b| b.weight().vector());
        let factors = self.factors_of(inputs).map_or(vec![1.0; experts], |f| f.weight().vector());
        for (logits, y) in logits.chunks_exact(experts).zip(out.chunks_exact_mut(2 * self.used)) {
            let logits: Vec<f32> = logits.iter().map(|&x| self.factor * x).collect();
            let scores = self.scores(&logits);
            let mut ranked = self.allowed(&scores, &bias);
            // Scores of large logits may be the same where the logits are not.
            let by_logits = self.bias(inputs).is_none() && self.groups == 1;
            let rank = |e: usize| if by_logits { logits[e] } else { scores[e] + bias[e] };
            ranked.sort_by(|&a, &b| rank(b).total_cmp(&rank(a)));
            let (ids, weights) = y.split_at_mut(self.used);
            let sum: f32 = ranked[..self.used].iter().map(|&e| scores[e]).sum();
            let divisor = self.normalise.map_or(1.0, |eps| sum + eps);
            for ((id, weight), &expert) in ids.iter_mut().zip(weights).zip(&ranked) {
                *id = expert as f32;
                *weight = scores[expert] / divisor * self.scale * factors[expert];
            }
        }
    }

    /// Of the inputs, or what stands for them, the bias.
    pub fn bias<'a, T>(&self, inputs: &'a [T]) -> Option<&'a T> {
        inputs[..inputs.len() - self.factors as usize].get(1)
    }

    /// Of the inputs, or what stands for them, the factors.
    pub fn factors_of<'a, T>(&self, inputs: &'a [T]) -> Option<&'a T> {
        inputs.last().filter(|_| self.factors)
    }

    fn scores(&self, logits: &[f32]) -> Vec<f32> {
        match self.scoring {
            Scoring::Sigmoid => logits.iter().map(|&x| (1.0 / (1.0 + (-x as f64).exp())) as f32).collect(),
            Scoring::Softmax => {
                let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let exp: Vec<f64> = logits.iter().map(|&x| ((x - largest) as f64).exp()).collect();
                let sum: f64 = exp.iter().sum();
                exp.iter().map(|e| (e / sum) as f32).collect()
            }
        }
    }

    /// The experts of the groups that may be chosen from, in order.
    fn allowed(&self, scores: &[f32], bias: &[f32]) -> Vec<usize> {
        let size = scores.len() / self.groups;
        let worth = |group: usize| {
            let mut biased: Vec<f32> =
                (group * size..(group + 1) * size).map(|e| scores[e] + bias[e]).collect();
            biased.sort_by(|a, b| b.total_cmp(a));
            biased.iter().take(self.group_best).sum::<f32>()
        };
        let mut groups: Vec<(usize, f32)> = (0..self.groups).map(|g| (g, worth(g))).collect();
        groups.sort_by(|a, b| b.1.total_cmp(&a.1));
        let mut kept: Vec<usize> = groups[..self.groups_used].iter().map(|(g, _)| *g).collect();
        kept.sort_unstable();
        kept.into_iter().flat_map(|g| g * size..(g + 1) * size).collect()
    }
}

/// The experts that a row of a route names, and their weights.
pub fn routed(row: &[f32]) -> impl Iterator<Item = (usize, f32)> {
    let (ids, weights) = row.split_at(row.len() / 2);
    ids.iter().zip(weights).map(|(&id, &weight)| (id as usize, weight))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the groups 0.5, 0.0 and 0.3, 0.25 and 0.1, 0.3 the first has the best expert, and the second the best two.
    #[test]
    fn groups_compare_by_their_best() {
        let scores = [0.5, 0.0, 0.3, 0.25, 0.1, 0.3];
        let allowed = |group_best| {
            let route = Route {
                used: 1,
                scoring: Scoring::Softmax,
                factor: 1.0,
                normalise: None,
                scale: 1.0,
                factors: false,
                groups: 3,
                groups_used: 1,
                group_best,
            };
            route.allowed(&scores, &[0.0; 6])
        };
        assert_eq!(allowed(1), [0, 1]);
        assert_eq!(allowed(2), [2, 3]);
    }
}
