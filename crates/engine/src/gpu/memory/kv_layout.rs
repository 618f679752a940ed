//! How keys and values are laid out in their caches: `wgsl/lib/kv_layout.wgsl`, for the host.
//!
//! A page holds the elements of all numbers of its positions, then their scales. Values of a position follow each other. The keys of a
//! page are a block in which the same element of all positions follow each other, so that an invocation for each position
//! multiplies a whole key while neighbours read neighbours.

use crate::graph::{Graph, Holds, Node};
use crate::memory::{Kv, KvFormat, PAGE};

/// The numbers that kernels need to find their way in caches of keys and of values, of one shape.
pub fn constants(graph: &Graph, kv: Kv, keys: Node) -> Vec<(&'static str, f64)> {
    let mut constants = vec![("KV_FOURS", graph.shape(keys).cols as f64 / 4.0)];
    let head_dim = graph.cache_of(keys).map_or(0, |cache| cache.head_dim);
    let names = [("KEY_SCALES", "KEY_HEAD_FOURS"), ("VALUE_SCALES", "VALUE_HEAD_FOURS")];
    for (format, (scales, fours)) in [kv.keys, kv.values].into_iter().zip(names) {
        let count = (format.scales)(head_dim);
        if count > 0 {
            constants.extend([(scales, count as f64), (fours, head_dim as f64 / 4.0)]);
        }
    }
    constants
}

/// Whether a cache holds keys.
pub fn holds_keys(graph: &Graph, cache: Node) -> bool {
    graph.cache_of(cache).is_some_and(|cache| cache.holds == Holds::Keys)
}

/// Where things are in a cache of `heads` heads of `head_dim` numbers.
#[derive(Clone, Copy, Debug)]
pub struct KvPlaces {
    /// What it holds.
    pub holds: Holds,
    /// How it is stored.
    pub format: &'static KvFormat,
    /// Heads of a position.
    pub heads: usize,
    /// Numbers of a head.
    pub head_dim: usize,
}

impl KvPlaces {
    /// Of a cache of the graph.
    pub fn of(graph: &Graph, kv: Kv, node: Node) -> Option<KvPlaces> {
        let cache = graph.cache_of(node)?;
        let heads = graph.shape(node).cols / cache.head_dim;
        Some(KvPlaces { holds: cache.holds, format: kv.format(cache.holds), heads, head_dim: cache.head_dim })
    }

    /// Bytes of a page.
    pub fn page_bytes(&self) -> usize {
        PAGE * self.heads * self.format.bytes(self.head_dim)
    }

    /// Where the elements of a head's row are, in elements and in their order on the host; the position is in `page`.
    pub fn elements(&self, page: u32, position: usize, head: usize) -> Vec<usize> {
        let (numbers, scales) = (self.head_dim / self.format.numbers, (self.format.scales)(self.head_dim));
        let start = page as usize * self.page_bytes() / self.format.element;
        let at = position % PAGE;
        let index = |start: usize, of_position: usize, element: usize| match self.holds {
            Holds::Keys => start + element * PAGE + at,
            Holds::Values => start + at * of_position + element,
        };
        let (all, all_scales) = (self.heads * numbers, self.heads * scales);
        let behind = start + all * PAGE;
        let of_numbers = (0..numbers).map(|n| index(start, all, head * numbers + n));
        of_numbers.chain((0..scales).map(|n| index(behind, all_scales, head * scales + n))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::KV_FORMATS;

    #[test]
    fn every_element_has_a_place_of_its_own() {
        for holds in [Holds::Keys, Holds::Values] {
            for &format in KV_FORMATS {
                let places = KvPlaces { holds, format, heads: 3, head_dim: 96 };
                let pages = 2;
                let of_page = |page: u32| {
                    (0..PAGE).flat_map(move |p| (0..3).flat_map(move |h| places.elements(page, 64 + p, h)))
                };
                let mut all: Vec<usize> = (0..pages).flat_map(of_page).collect();
                all.sort_unstable();
                let count = pages as usize * places.page_bytes() / format.element;
                assert!(all.iter().copied().eq(0..count), "{holds:?} in {}", format.name);
            }
        }
    }

    #[test]
    fn neighbouring_positions_have_neighbouring_elements_of_keys() {
        for &format in KV_FORMATS {
            let places = KvPlaces { holds: Holds::Keys, format, heads: 2, head_dim: 32 };
            let [a, b] = [6, 7].map(|position| places.elements(1, position, 1));
            assert!(a.iter().zip(&b).all(|(a, b)| *b == a + 1), "{}", format.name);
        }
    }
}
