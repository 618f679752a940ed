//! How keys and values are laid out in their caches: `wgsl/lib/kv_layout.wgsl`, for the host.
//!
//! Values of a position follow each other. Keys are in blocks of 32 positions, whose numbers of one four follow each other, so that
//! an invocation for each position multiplies a whole key while neighbours read neighbours.

use crate::graph::{Graph, Node};
use crate::ops::Op;

/// Positions of a block of keys.
const BLOCK: usize = 32;

/// Positions that a slot has room for, where `context` are asked for: whole blocks.
pub fn positions(context: usize) -> usize {
    context.next_multiple_of(BLOCK)
}

/// The numbers that kernels need to find their way in `cache`.
pub fn constants(graph: &Graph, cache: Node, context: usize) -> [(&'static str, f64); 2] {
    [("CONTEXT", positions(context) as f64), ("KV_FOURS", graph.shape(cache).cols as f64 / 4.0)]
}

/// Whether a cache holds keys.
pub fn holds_keys(graph: &Graph, cache: Node) -> bool {
    let mut ops = graph.users(cache).iter().filter_map(|&user| graph.entry(user).op());
    ops.any(|(op, inputs)| matches!(op, Op::Attend(_)) && inputs[1] == cache)
}

/// Where the numbers of a position are in a cache of `cols` numbers a position, in order.
pub fn places(keys: bool, context: usize, cols: usize, slot: usize, position: usize) -> Vec<usize> {
    let at = slot * positions(context) + position;
    let place = |number: usize| match keys {
        true => ((at / BLOCK * (cols / 4) + number / 4) * BLOCK + at % BLOCK) * 4 + number % 4,
        false => at * cols + number,
    };
    (0..cols).map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_a_place_of_its_own() {
        for keys in [false, true] {
            let (slots, context, cols) = (2, 40, 12);
            let mut all: Vec<usize> = (0..slots)
                .flat_map(|s| (0..positions(context)).flat_map(move |p| places(keys, context, cols, s, p)))
                .collect();
            all.sort_unstable();
            assert!(all.iter().copied().eq(0..slots * positions(context) * cols));
        }
    }

    #[test]
    fn neighbouring_positions_have_neighbouring_fours_of_keys() {
        let [a, b] = [6, 7].map(|position| places(true, 64, 8, 1, position));
        assert_eq!(b[4], a[4] + 4);
    }
}
