//! How keys and values are laid out in their caches: `wgsl/lib/kv_layout.wgsl`, for the host.
//!
//! Values of a position follow each other. The keys of a page are a block, whose numbers of one four follow each other, so that
//! an invocation for each position multiplies a whole key while neighbours read neighbours.

use crate::graph::{Graph, Node};
use crate::memory::PAGE;
use crate::ops::Op;

/// The number that kernels need to find their way in `cache`.
pub fn constants(graph: &Graph, cache: Node) -> [(&'static str, f64); 1] {
    [("KV_FOURS", graph.shape(cache).cols as f64 / 4.0)]
}

/// Whether a cache holds keys.
pub fn holds_keys(graph: &Graph, cache: Node) -> bool {
    let mut ops = graph.users(cache).iter().filter_map(|&user| graph.entry(user).op());
    ops.any(|(op, inputs)| matches!(op, Op::Attend(_)) && inputs[1] == cache)
}

/// Where the numbers of a position are in a cache of `cols` numbers a position, in order; the position is in `page`.
pub fn indices(keys: bool, cols: usize, page: u32, position: usize) -> Vec<usize> {
    let (page, at) = (page as usize, position % PAGE);
    let index = |number: usize| match keys {
        true => ((page * (cols / 4) + number / 4) * PAGE + at) * 4 + number % 4,
        false => (page * PAGE + at) * cols + number,
    };
    (0..cols).map(index).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_a_place_of_its_own() {
        for keys in [false, true] {
            let (pages, cols) = (3, 12);
            let mut all: Vec<usize> = (0..pages)
                .flat_map(|page| (0..PAGE).flat_map(move |p| indices(keys, cols, page, 64 + p)))
                .collect();
            all.sort_unstable();
            assert!(all.iter().copied().eq(0..pages as usize * PAGE * cols));
        }
    }

    #[test]
    fn neighbouring_positions_have_neighbouring_fours_of_keys() {
        let [a, b] = [6, 7].map(|position| indices(true, 8, 1, position));
        assert_eq!(b[4], a[4] + 4);
    }
}
