//! What one pass through a graph is given: rows of sequences, and those of them whose logits are wanted.

use std::ops::Range;

/// One token at one position of one sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The token's id.
    pub token: u32,
    /// Which sequence's KV cache the row belongs to.
    pub slot: u32,
    /// The token's place in that sequence, from 0.
    pub position: u32,
}

/// What is computed at once: prefill is many rows of one slot, decode is one row, a server's step is rows of many slots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// The rows, those of one slot in the order of their positions.
    pub rows: Vec<Row>,
    /// Indices into `rows` whose logits are wanted, or what else the graph ends with.
    pub outputs: Vec<u32>,
}

impl Step {
    /// The stretches of rows of one slot.
    pub fn runs(&self) -> impl Iterator<Item = Range<usize>> {
        let mut at = 0;
        self.rows.chunk_by(|a, b| a.slot == b.slot).map(move |rows| {
            at += rows.len();
            at - rows.len()..at
        })
    }
}
