//! Kinds of memory that a layer has of a sequence: what it holds, what a step writes, and how it is taken back.

use crate::graph::Holds;
use crate::memory::Kv;

/// What a layer keeps of each slot from step to step.
///
/// Attention keeps something of every position, so that a sequence is shortened by forgetting the last ones. The other kinds keep a
/// state that each row moves on: it goes back to where a snapshot of it was taken, and to the start. A row at position 0 finds the state
/// of a sequence without rows, all zeros, whatever the slot held before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryKind {
    /// Keys or values, in pages. A step writes those of its rows' positions.
    Attention {
        /// Which of them.
        holds: Holds,
        /// Heads of a position.
        heads: usize,
        /// Numbers of a head.
        head_dim: usize,
    },
    /// The last `taps` − 1 inputs of a causal convolution, `[taps − 1][channels]`, that of position p at p mod (`taps` − 1). A step writes
    /// those of its last rows.
    Convolution {
        /// Positions that an output is made of, its own included.
        taps: usize,
        /// Numbers of a position.
        channels: usize,
    },
    /// A matrix for each head, `[heads][rows][cols]`. A step writes all of it.
    Recurrent {
        /// How many heads.
        heads: usize,
        /// Numbers that a head gives.
        rows: usize,
        /// Numbers that it is asked by.
        cols: usize,
    },
}

impl MemoryKind {
    /// Numbers that a slot of so many positions takes.
    pub fn numbers(&self, positions: usize) -> usize {
        match *self {
            MemoryKind::Attention { heads, head_dim, .. } => positions * heads * head_dim,
            MemoryKind::Convolution { taps, channels } => (taps - 1) * channels,
            MemoryKind::Recurrent { heads, rows, cols } => heads * rows * cols,
        }
    }

    /// Bytes that a slot of so many positions takes, keys and values as `kv` says. States are f32: what is rounded there is carried
    /// through all rows that follow.
    pub fn bytes(&self, positions: u64, kv: &Kv) -> u64 {
        match *self {
            MemoryKind::Attention { holds, heads, head_dim } => {
                positions.saturating_mul((heads * kv.format(holds).bytes(head_dim)) as u64)
            }
            _ => self.numbers(0) as u64 * 4,
        }
    }

    /// Whether it can be taken back to where a snapshot was taken alone, rather than to any position.
    pub fn needs_snapshots(&self) -> bool {
        !matches!(self, MemoryKind::Attention { .. })
    }
}
