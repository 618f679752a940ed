//! How keys and values are laid out in their caches: `wgsl/lib/places.wgsl`, for the host.
//!
//! Values of a position follow each other. Keys are in blocks of 32 positions, each with its numbers of one four or, where a key is
//! whole eights, of two: an invocation for each position multiplies a whole key, and neighbours read neighbours.

use crate::graph::{Graph, Node};

/// Positions of a block of keys.
const BLOCK: usize = 32;

/// Positions that a slot has room for, where `context` are asked for: whole blocks.
pub fn positions(context: usize) -> usize {
    context.next_multiple_of(BLOCK)
}

/// Fours of a key of `cols` numbers that follow each other.
fn key_fours(cols: usize) -> usize {
    if cols.is_multiple_of(8) { 2 } else { 1 }
}

/// The numbers that kernels need to find their way in `cache`.
pub fn constants(graph: &Graph, cache: Node, context: usize) -> [(&'static str, f64); 3] {
    let cols = graph.shape(cache).cols;
    let numbers = [("CONTEXT", positions(context)), ("KV_FOURS", cols / 4), ("KEY_FOURS", key_fours(cols))];
    numbers.map(|(name, n)| (name, n as f64))
}

/// Whether a cache holds keys.
pub fn holds_keys(graph: &Graph, cache: Node) -> bool {
    let attends = |user: &&Node| {
        let op = graph.entry(**user).op();
        op.is_some_and(|(op, inputs)| op.name() == "attend" && inputs[1] == cache)
    };
    graph.users(cache).iter().find(attends).is_some()
}

/// Where the numbers of a position are in a cache of `cols` numbers a position, in order.
pub fn places(keys: bool, context: usize, cols: usize, slot: usize, position: usize) -> Vec<usize> {
    let at = slot * positions(context) + position;
    let together = 4 * key_fours(cols);
    let place = |number: usize| match keys {
        true => {
            (at / BLOCK * cols + number / together * together) * BLOCK
                + at % BLOCK * together
                + number % together
        }
        false => at * cols + number,
    };
    (0..cols).map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_a_place_of_its_own() {
        for (keys, cols) in [(false, 12), (true, 12), (true, 16)] {
            let (slots, context) = (2, 40);
            let mut all: Vec<usize> = (0..slots)
                .flat_map(|s| (0..positions(context)).flat_map(move |p| places(keys, context, cols, s, p)))
                .collect();
            all.sort_unstable();
            assert!(all.iter().copied().eq(0..slots * positions(context) * cols));
        }
    }

    #[test]
    fn neighbouring_positions_have_neighbouring_eights_of_keys() {
        let [a, b] = [6, 7].map(|position| places(true, 64, 16, 1, position));
        assert_eq!((a[8] + 8, a[8] + 4), (b[8], a[12]));
    }
}
