//! Drafts of what comes next, without a second model: what followed the last tokens where they stood before (prompt lookup decoding,
//! Saxena 2023). A text that repeats its prompt, or itself, is told ahead by that. Whoever drafts has to verify: see [`crate::scheduler`].

use std::collections::HashMap;

use crate::error::{Error, Result};
use crate::models::Model;

/// Tokens that must have stood before in the same order.
const GRAM: usize = 2;
/// Tokens that are compared at most, to choose between places where they did.
const LONGEST: usize = 16;
/// Places that are looked at, the last ones first.
const PLACES: usize = 32;
/// In place of a position: there is none.
const NONE: u32 = u32::MAX;

/// The most tokens of a draft: with the token in front of them they are the rows that share each load of weights.
pub const MOST: usize = 63;

/// How many tokens were drafted, and how many of them were what came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Drafts {
    /// Tokens that were drafted.
    pub drafted: usize,
    /// How many of them were right.
    pub accepted: usize,
}

impl Drafts {
    /// The share that was right; none where nothing was drafted.
    pub fn share(&self) -> Option<f64> {
        (self.drafted > 0).then(|| self.accepted as f64 / self.drafted as f64)
    }
}

impl std::ops::Add for Drafts {
    type Output = Drafts;

    fn add(self, other: Drafts) -> Drafts {
        Drafts { drafted: self.drafted + other.drafted, accepted: self.accepted + other.accepted }
    }
}

impl std::ops::Sub for Drafts {
    type Output = Drafts;

    fn sub(self, other: Drafts) -> Drafts {
        Drafts { drafted: self.drafted - other.drafted, accepted: self.accepted - other.accepted }
    }
}

/// Fails where drafts of up to `most` tokens are asked for and `model` cannot take back those that were wrong.
pub fn check(model: &Model, most: usize) -> Result<()> {
    match most > 0 && model.graph.states().next().is_some() {
        true => Err(has_states(model.architecture)),
        false => Ok(()),
    }
}

/// What is said of a model whose memory does not go back to any position.
pub(crate) fn has_states(what: &str) -> Error {
    Error::Usage(format!(
        "--lookup takes back what was drafted in vain, and {what} has layers with states, which no position can be taken off; leave it out"
    ))
}

/// Where each pair of tokens of one sequence stands, and how long its next draft is.
#[derive(Debug, Default)]
pub struct Lookup {
    /// Where each pair ends last.
    last: HashMap<[u32; GRAM], u32>,
    /// Of each position the one before it at which the same pair ends.
    before: Vec<u32>,
    /// Tokens of the last draft, and how many of them were right.
    drafted: usize,
    accepted: usize,
}

impl Lookup {
    /// What may follow `tokens`: `most` of them or fewer, none where nothing is known. After a draft that was right in part the next one is a
    /// little longer than that part, so that a text which does not repeat itself costs little.
    ///
    /// `tokens` begin with those of the call before, less what [`Lookup::truncate`] was told of.
    pub fn draft(&mut self, tokens: &[u32], most: usize) -> Vec<u32> {
        self.learn(tokens);
        let most = match self.drafted {
            0 => most,
            _ => most.min(2 * (self.accepted + 1)),
        };
        let from = self.place(tokens).unwrap_or(tokens.len());
        let mut draft: Vec<u32> = Vec::new();
        while draft.len() < most {
            // What reaches the end goes on with itself: a period.
            let at = from + draft.len();
            let token = tokens.get(at).or_else(|| draft.get(at - tokens.len())).copied();
            let Some(token) = token else { break };
            draft.push(token);
        }
        if !draft.is_empty() {
            (self.drafted, self.accepted) = (draft.len(), 0);
        }
        draft
    }

    /// Whether anything would be drafted behind `tokens`.
    pub fn expects(&mut self, tokens: &[u32]) -> bool {
        self.learn(tokens);
        self.place(tokens).is_some()
    }

    /// One more token of the last draft was right.
    pub fn accept(&mut self) {
        self.accepted += 1;
    }

    /// Forgets what stands behind the first `len` of `tokens`, which are still all those of the last draft.
    pub fn truncate(&mut self, tokens: &[u32], len: usize) {
        while self.before.len() > len {
            let end = self.before.len() - 1;
            let before = self.before.pop().unwrap_or(NONE);
            match gram(tokens, end) {
                Some(gram) if before == NONE => drop(self.last.remove(&gram)),
                Some(gram) => drop(self.last.insert(gram, before)),
                None => {}
            }
        }
        if len == 0 {
            (self.drafted, self.accepted) = (0, 0);
        }
    }

    fn learn(&mut self, tokens: &[u32]) {
        for end in self.before.len()..tokens.len() {
            let before = gram(tokens, end).and_then(|gram| self.last.insert(gram, end as u32));
            self.before.push(before.unwrap_or(NONE));
        }
    }

    /// What is copied from: behind the place that is most like the end of `tokens`, and of those the last.
    fn place(&self, tokens: &[u32]) -> Option<usize> {
        let end = tokens.len().checked_sub(1)?;
        let earlier = |&end: &u32| Some(self.before[end as usize]).filter(|&before| before != NONE);
        let places = std::iter::successors(earlier(&(end as u32)), earlier).take(PLACES);
        let alike = |place: usize| {
            let pairs = tokens[..=place].iter().rev().zip(tokens.iter().rev()).take(LONGEST);
            pairs.take_while(|(a, b)| a == b).count()
        };
        let mut best = None;
        for place in places.map(|place| place as usize) {
            let alike = alike(place);
            if best.is_none_or(|(most, _)| alike > most) {
                best = Some((alike, place));
            }
            if alike == LONGEST {
                break;
            }
        }
        best.map(|(_, place)| place + 1)
    }
}

/// The tokens that end at a position.
fn gram(tokens: &[u32], end: usize) -> Option<[u32; GRAM]> {
    tokens.get((end + 1).checked_sub(GRAM)?..=end)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(tokens: &[u32], most: usize) -> Vec<u32> {
        Lookup::default().draft(tokens, most)
    }

    #[test]
    fn what_followed_the_last_tokens_is_drafted() {
        assert_eq!(draft(&[1, 2, 3, 4, 5, 1, 2], 2), [3, 4]);
        assert_eq!(draft(&[1, 2, 3, 4, 5, 1, 2], 5), [3, 4, 5, 1, 2], "to the end of what is known");
        for nothing in [&[][..], &[1], &[1, 1], &[1, 2, 3, 2], &[1, 2, 3, 4]] {
            assert!(draft(nothing, 8).is_empty(), "{nothing:?}");
        }
        assert!(draft(&[1, 2, 3, 1, 2], 0).is_empty());
    }

    #[test]
    fn a_period_goes_on() {
        assert_eq!(draft(&[7, 7, 7], 4), [7; 4]);
        assert_eq!(draft(&[9, 1, 2, 3, 1, 2, 3, 1], 6), [2, 3, 1, 2, 3, 1]);
    }

    #[test]
    fn the_place_that_is_most_alike_wins_and_then_the_last() {
        // Behind (5, 1, 2) came 3, behind (6, 1, 2) came 4.
        assert_eq!(draft(&[5, 1, 2, 3, 6, 1, 2, 4, 5, 1, 2], 1), [3]);
        assert_eq!(draft(&[5, 1, 2, 3, 6, 1, 2, 4, 8, 1, 2], 1), [4]);
    }

    #[test]
    fn a_draft_is_as_long_as_the_last_one_was_right() {
        let tokens = [1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2];
        let mut lookup = Lookup::default();
        assert_eq!(lookup.draft(&tokens, 8).len(), 8);
        assert_eq!(lookup.draft(&tokens, 8).len(), 2);
        (0..2).for_each(|_| lookup.accept());
        assert_eq!(lookup.draft(&tokens, 8).len(), 6);
        (0..6).for_each(|_| lookup.accept());
        assert_eq!(lookup.draft(&tokens, 8).len(), 8);
    }

    #[test]
    fn what_was_taken_back_is_as_if_it_had_never_been() {
        let tokens: Vec<u32> = (0..400u32).map(|i| i * i % 23 % 5).collect();
        let mut lookup = Lookup::default();
        for (turn, len) in [400, 7, 130, 131, 1, 60, 2, 0, 399].into_iter().enumerate() {
            let of = &tokens[..len];
            let other = [of, &[turn as u32 + 90; 5], &tokens[3..9]].concat();
            lookup.draft(&other, 9);
            lookup.truncate(&other, len);
            (lookup.drafted, lookup.accepted) = (0, 0);
            assert_eq!(lookup.draft(of, 9), draft(of, 9), "{len} tokens");
            let next = [7, 130, 131, 1, 60, 2, 0, 399, 0][turn].min(len);
            lookup.truncate(of, next);
        }
    }
}
