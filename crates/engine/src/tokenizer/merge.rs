//! Merging of neighbours, best pair first: what byte-pair encodings have in common.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// Stands for "no token" in [`Symbol::id`].
pub(super) const NONE: u32 = u32::MAX;

/// A stretch of a text, in bytes, that is one letter or one token so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Symbol {
    pub id: u32,
    pub start: usize,
    pub end: usize,
}

/// Two neighbours that make a token: their places, and the length of both, which tells whether one of them has merged
/// with another since.
struct Pair<R> {
    rank: R,
    left: usize,
    right: usize,
    length: usize,
    id: u32,
}

/// Merges until no two neighbours make a token. `pair` gives the rank of two neighbours and the token that they make; the
/// greatest rank merges first, the leftmost of equal ones. O(n log n).
pub(super) fn merge<R: Ord>(
    mut symbols: Vec<Symbol>,
    pair: impl Fn(&Symbol, &Symbol) -> Option<(R, u32)>,
) -> Vec<Symbol> {
    let count = symbols.len();
    if count < 2 {
        return symbols;
    }
    // The neighbours of each symbol; `count` behind the last, and before the first.
    let mut prev: Vec<usize> = (0..count).map(|at| if at == 0 { count } else { at - 1 }).collect();
    let mut next: Vec<usize> = (1..=count).collect();
    let offer = |symbols: &[Symbol], left: usize, right: usize| {
        let (a, b) = (symbols.get(left)?, symbols.get(right)?);
        let (rank, id) = pair(a, b)?;
        Some(Pair { rank, left, right, length: b.end - a.start, id })
    };
    let mut pairs: BinaryHeap<Pair<R>> =
        (1..count).filter_map(|right| offer(&symbols, right - 1, right)).collect();
    while let Some(Pair { left, right, length, id, .. }) = pairs.pop() {
        let (a, b) = (symbols[left], symbols[right]);
        if a.start == a.end || b.start == b.end || b.end - a.start != length || next[left] != right {
            continue;
        }
        symbols[left] = Symbol { id, end: b.end, ..a };
        symbols[right].end = b.start;
        let after = next[right];
        next[left] = after;
        if after < count {
            prev[after] = left;
        }
        pairs.extend(offer(&symbols, prev[left], left));
        pairs.extend(offer(&symbols, left, after));
    }
    symbols.retain(|symbol| symbol.start < symbol.end);
    symbols
}

impl<R: Ord> Ord for Pair<R> {
    /// The best rank is greatest, and of equal ranks the leftmost.
    fn cmp(&self, other: &Pair<R>) -> Ordering {
        self.rank.cmp(&other.rank).then(Reverse(self.left).cmp(&Reverse(other.left)))
    }
}

impl<R: Ord> PartialOrd for Pair<R> {
    fn partial_cmp(&self, other: &Pair<R>) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<R: Ord> PartialEq for Pair<R> {
    fn eq(&self, other: &Pair<R>) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<R: Ord> Eq for Pair<R> {}
