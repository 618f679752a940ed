//! How keys and values are kept: a file for each format, and one table of them.
//!
//! What is written at once is a head's row: the numbers of one head at one position. It is a number of *elements*, each of which holds
//! some neighbouring numbers, and behind them the elements that belong to all of it, such as scales. On the host these lie in this
//! order. On a GPU the elements of a page's rows are interleaved (`wgsl/lib/kv_layout.wgsl`), and `wgsl/cache/NAME.wgsl` reads and packs
//! them.
//!
//! To add a format, write `x.rs` beside this file and `wgsl/cache/x.wgsl`, and add its row to [`KV_FORMATS`]; and where two neighbouring
//! numbers can be written by themselves, `wgsl/cache_pair/x.wgsl`.

mod f16;
// Called `mod f32`, it would hide the primitive type.
#[path = "f32.rs"]
mod f32_;
mod q8_0;

use crate::Precision;
use crate::error::{Error, Result};
use crate::graph::{Graph, Holds, Kind};

/// The formats that keys and values can be kept in.
pub const KV_FORMATS: &[&KvFormat] = &[&f32_::F32, &f16::F16, &q8_0::Q8_0];

/// The format of this name, if there is one.
pub fn kv_format(name: &str) -> Option<&'static KvFormat> {
    KV_FORMATS.iter().copied().find(|format| format.name == name)
}

/// A way to keep keys or values.
#[derive(Debug)]
pub struct KvFormat {
    /// ggml's name, as in `q8_0`; also the stem of its file in `wgsl/cache/`.
    pub name: &'static str,
    /// Numbers that are rounded together: a head is whole blocks of them.
    pub block: usize,
    /// Numbers of an element.
    pub numbers: usize,
    /// Bytes of an element: whole words.
    pub element: usize,
    /// Elements behind the numbers of a head of this length.
    pub scales: fn(head_dim: usize) -> usize,
    /// Rounds a head's numbers to [`KvFormat::bytes`]. Panics where the lengths are others.
    pub store: fn(head: &[f32], bytes: &mut [u8]),
    /// The numbers that these bytes stand for, exactly. Panics where the lengths are others.
    pub load: fn(bytes: &[u8], head: &mut [f32]),
    /// The largest distance between neighbouring values that a number may be rounded to, of the root mean square of its block.
    pub step: f64,
}

impl PartialEq for KvFormat {
    fn eq(&self, other: &KvFormat) -> bool {
        self.name == other.name
    }
}

impl KvFormat {
    /// Bytes of a head's row.
    pub fn bytes(&self, head_dim: usize) -> usize {
        self.element * (head_dim / self.numbers + (self.scales)(head_dim))
    }

    /// What is left of a head's numbers once they were stored.
    pub fn round(&self, head: &[f32], rounded: &mut [f32]) {
        let mut bytes = vec![0; self.bytes(head.len())];
        (self.store)(head, &mut bytes);
        (self.load)(&bytes, rounded);
    }

    /// The largest NMSE of stored numbers, where the numbers themselves differ by an NMSE of `apart`.
    ///
    /// Two numbers that are e apart are rounded to different values, a step s apart, with a probability of e / s: that is e · s in the
    /// mean square. A scale in f16 may be rounded either way, too, which is 2⁻¹¹ of every number.
    pub fn bound(&self, apart: f64) -> f64 {
        if self.step == 0.0 { apart } else { apart + apart.sqrt() * self.step + 2f64.powi(-22) }
    }
}

/// The formats of keys and of values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Kv {
    /// Of keys.
    pub keys: &'static KvFormat,
    /// Of values.
    pub values: &'static KvFormat,
}

impl Kv {
    /// Both in f32: what the reference keeps unless it is told otherwise.
    pub const F32: Kv = Kv { keys: &f32_::F32, values: &f32_::F32 };

    /// What a GPU keeps unless it is told otherwise.
    pub const fn of(precision: Precision) -> Kv {
        match precision {
            Precision::Fast => Kv { keys: &f16::F16, values: &f16::F16 },
            Precision::F32 => Kv::F32,
        }
    }

    /// The format of what a cache holds.
    pub fn format(&self, holds: Holds) -> &'static KvFormat {
        match holds {
            Holds::Keys => self.keys,
            Holds::Values => self.values,
        }
    }

    /// `f16`, or where they differ `q8_0 and f16`.
    pub fn name(&self) -> String {
        match self.keys == self.values {
            true => self.keys.name.into(),
            false => format!("{} and {}", self.keys.name, self.values.name),
        }
    }

    /// Bytes of a position of all layers of a graph.
    pub fn bytes(&self, graph: &Graph) -> usize {
        let caches = graph.nodes().filter_map(|(_, entry)| match &entry.kind {
            Kind::Cache(cache) => {
                Some(entry.shape.cols / cache.head_dim * self.format(cache.holds).bytes(cache.head_dim))
            }
            _ => None,
        });
        caches.sum()
    }

    /// Fails where a head of a graph is not whole blocks of its format.
    pub fn check(&self, graph: &Graph) -> Result<()> {
        for (_, entry) in graph.nodes() {
            let Kind::Cache(cache) = &entry.kind else { continue };
            let (format, head_dim) = (self.format(cache.holds), cache.head_dim);
            if !head_dim.is_multiple_of(format.block) {
                let flag = match cache.holds {
                    Holds::Keys => "-ctk",
                    Holds::Values => "-ctv",
                };
                let (name, block) = (format.name, format.block);
                let what = format!("{flag} {name}: {} has heads of {head_dim} numbers", entry.label);
                return Err(Error::Usage(format!(
                    "{what}, and {name} keeps blocks of {block}; choose f16 or f32"
                )));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers of every size that a head may have, signs mixed.
    fn head(len: usize, seed: u32) -> Vec<f32> {
        let mut state = seed.wrapping_mul(2_654_435_761) | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state as f32 / 2f32.powi(31) - 1.0
        };
        (0..len).map(|_| next() * 10f32.powf(2.0 * next())).collect()
    }

    #[test]
    fn what_was_rounded_once_stays_as_it_is() {
        for format in KV_FORMATS {
            for seed in 1..200 {
                let numbers = head(96, seed);
                let (mut once, mut twice) = (vec![f32::NAN; 96], vec![f32::NAN; 96]);
                format.round(&numbers, &mut once);
                format.round(&once, &mut twice);
                assert_eq!(once, twice, "{}", format.name);
            }
        }
    }

    #[test]
    fn numbers_are_rounded_by_half_a_step_at_most() {
        for format in KV_FORMATS {
            for seed in 1..200 {
                let numbers = head(64, seed);
                let mut rounded = vec![f32::NAN; 64];
                format.round(&numbers, &mut rounded);
                for (block, rounded) in numbers.chunks(format.block).zip(rounded.chunks(format.block)) {
                    let squares: f64 = block.iter().map(|&x| f64::from(x).powi(2)).sum();
                    let rms = (squares / block.len() as f64).sqrt();
                    let scale = 2f64.powi(-11); // of a block, itself rounded
                    for (&x, &y) in block.iter().zip(rounded) {
                        let (x, y) = (f64::from(x), f64::from(y));
                        let most = format.step * rms / 2.0 + x.abs() * scale + 6e-8;
                        assert!((x - y).abs() <= most, "{}: {x} became {y}", format.name);
                    }
                }
            }
        }
    }

    #[test]
    fn numbers_beyond_all_formats_stay_numbers() {
        for format in KV_FORMATS {
            let mut numbers = head(64, 7);
            (numbers[3], numbers[40]) = (3e38, -1e9);
            let mut rounded = vec![f32::NAN; 64];
            format.round(&numbers, &mut rounded);
            assert!(rounded.iter().all(|x| x.is_finite()), "{}: {rounded:?}", format.name);
            format.round(&[0.0; 64], &mut rounded);
            assert!(rounded.iter().all(|&x| x == 0.0), "{}: {rounded:?}", format.name);
        }
    }

    #[test]
    fn heads_that_are_no_whole_blocks_are_refused_by_name() {
        let graph = |head_dim: usize| {
            let mut graph = Graph::new();
            let format = crate::formats::FORMATS[0];
            let weight = crate::graph::Weight {
                tensor: "t".into(),
                first: 0,
                experts: 1,
                rows: 4,
                cols: 2 * head_dim,
                format,
            };
            let table = graph.weight(weight);
            let x = graph.embed(table, crate::ops::Index::Token);
            graph.attention(x, x, x, crate::ops::AttentionShape::new(2, 2, head_dim));
            graph
        };
        let both = Kv { keys: &f16::F16, values: &q8_0::Q8_0 };
        let refused = both.check(&graph(80)).unwrap_err().to_string();
        let expected =
            "-ctv q8_0: cache_v has heads of 80 numbers, and q8_0 keeps blocks of 32; choose f16 or f32";
        assert_eq!(refused, expected);
        assert!(both.check(&graph(96)).is_ok() && Kv::of(Precision::Fast).check(&graph(80)).is_ok());
        assert_eq!(both.bytes(&graph(96)), 2 * (192 + 96 + 8));
    }
}
