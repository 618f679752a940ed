//! What an op's reference reads: rows of f32, rows of a weight, rows of a cache, or the states of a layer.

use std::sync::{Mutex, MutexGuard};

use crate::formats::Format;
use crate::gguf::Gguf;
use crate::graph::Weight;
use crate::memory::{KvFormat, PAGE};

/// An input of an op's reference.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    /// An activation, row-major.
    Rows {
        /// All numbers.
        data: &'a [f32],
        /// The length of a row.
        cols: usize,
    },
    /// A weight, as stored.
    Weight(WeightRows<'a>),
    /// A cache of keys or values.
    Cache(CacheRows<'a>),
    /// States of slots, which the op that reads them moves on.
    States(&'a States),
}

impl<'a> Value<'a> {
    /// Row `r` of an activation.
    pub fn row(&self, r: usize) -> &'a [f32] {
        let (data, cols) = self.rows();
        &data[r * cols..][..cols]
    }

    /// All numbers of an activation, and the length of a row.
    pub fn rows(&self) -> (&'a [f32], usize) {
        match *self {
            Value::Rows { data, cols } => (data, cols),
            other => panic!("an activation was expected here, not {other:?}"),
        }
    }

    /// A weight.
    pub fn weight(&self) -> WeightRows<'a> {
        match *self {
            Value::Weight(w) => w,
            other => panic!("a weight was expected here, not {other:?}"),
        }
    }

    /// The states of a layer's slots.
    pub fn states(&self) -> &'a States {
        match *self {
            Value::States(states) => states,
            other => panic!("states were expected here, not {other:?}"),
        }
    }

    /// A cache.
    pub fn cache(&self) -> CacheRows<'a> {
        match *self {
            Value::Cache(c) => c,
            other => panic!("a cache was expected here, not {other:?}"),
        }
    }
}

/// Rows of a weight in the file's own blocks.
#[derive(Clone, Copy)]
pub struct WeightRows<'a> {
    /// The blocks of all rows.
    pub blocks: &'a [u8],
    /// Weights in a row.
    pub cols: usize,
    /// How they are stored.
    pub format: &'static Format,
}

impl std::fmt::Debug for WeightRows<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "weight {} [{}, {}]", self.format.name, self.rows(), self.cols)
    }
}

impl<'a> WeightRows<'a> {
    /// The rows of a weight whose tensor the model's file was found to have.
    pub fn of(file: &'a Gguf, weight: &Weight) -> WeightRows<'a> {
        let Some(tensor) = file.tensor(&weight.tensor) else { panic!("{} left the file", weight.tensor) };
        WeightRows { blocks: &file.data(tensor)[weight.bytes()], cols: weight.cols, format: weight.format }
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.blocks.len() / self.format.row_bytes(self.cols)
    }

    /// Decodes row `r` into `out`, which holds `cols` numbers.
    pub fn decode(&self, r: usize, out: &mut [f32]) {
        let bytes = self.format.row_bytes(self.cols);
        (self.format.decode)(&self.blocks[r * bytes..][..bytes], out);
    }

    /// The product of row `r` with `x`, in f32.
    pub fn dot(&self, r: usize, x: &[f32]) -> f32 {
        let bytes = self.format.row_bytes(self.cols);
        (self.format.dot)(&self.blocks[r * bytes..][..bytes], x)
    }

    /// A weight of one row as numbers: a norm's weight, a bias.
    pub fn vector(&self) -> Vec<f32> {
        let mut out = vec![0.0; self.cols];
        self.decode(0, &mut out);
        out
    }
}

/// The keys or values of one layer, in pages: `[page][position][head]`, each head's row as its format stores it.
#[derive(Clone, Copy)]
pub struct CacheRows<'a> {
    /// All of them, in whole words.
    pub words: &'a [u32],
    /// How they are stored.
    pub format: &'static KvFormat,
    /// The pages of each slot, in the order of their positions.
    pub tables: &'a [Vec<u32>],
    /// Heads of a position.
    pub heads: usize,
    /// Numbers of a head.
    pub head_dim: usize,
}

impl std::fmt::Debug for CacheRows<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let CacheRows { format, heads, head_dim, .. } = self;
        write!(f, "cache {} of {heads} heads of {head_dim}", format.name)
    }
}

impl<'a> CacheRows<'a> {
    /// Words of a head's row.
    pub fn head_words(&self) -> usize {
        self.format.bytes(self.head_dim) / 4
    }

    /// Where the heads of one position of one slot begin, in words.
    pub fn index(&self, slot: u32, position: u32) -> usize {
        let page = self.tables[slot as usize][position as usize / PAGE] as usize;
        (page * PAGE + position as usize % PAGE) * self.heads * self.head_words()
    }

    /// Reads the numbers of one head at one position of one slot.
    pub fn load(&self, slot: u32, position: u32, head: usize, out: &mut [f32]) {
        let at = self.index(slot, position) + head * self.head_words();
        (self.format.load)(bytemuck::cast_slice(&self.words[at..at + self.head_words()]), out);
    }
}

/// The states of one layer: `[slot][numbers]`. The op that reads them leaves each slot's as it is behind the slot's last row; everything
/// else that an op has as an input it only reads, hence the lock.
pub struct States {
    numbers: usize,
    data: Mutex<Vec<f32>>,
}

impl std::fmt::Debug for States {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "states of {} numbers", self.numbers)
    }
}

impl States {
    /// States of `numbers` numbers, from all of them.
    pub fn new(numbers: usize, data: Vec<f32>) -> States {
        States { numbers, data: Mutex::new(data) }
    }

    /// Numbers of a slot's state.
    pub fn numbers(&self) -> usize {
        self.numbers
    }

    /// All numbers.
    pub fn lock(&self) -> MutexGuard<'_, Vec<f32>> {
        self.data.lock().unwrap_or_else(|e| e.into_inner())
    }
}
