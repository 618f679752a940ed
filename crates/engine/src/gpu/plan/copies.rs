//! Copies of activations, scaled and maybe quantised: which there are, and who writes each. Decided once; planning only looks here.

use std::collections::HashMap;

use crate::graph::{Graph, Node, Shape};

/// How a copy holds its numbers: the stem of its file in `wgsl/copy/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CopyKind {
    /// As f32, with sums of squares.
    F32,
    /// As int8 with a scale for each 16.
    I8,
    /// Already normalised, in f16 with a scale for each row (`wgsl/halves.wgsl`): no dispatch that computes a part of a row can write it.
    F16,
    /// The same, of no more rows than `matmul_few` multiplies in matrices of 16 × 16 (`wgsl/lib/halves_layout.wgsl`).
    F16Matrices,
}

impl CopyKind {
    /// The stem of its file.
    pub fn stem(self) -> &'static str {
        match self {
            CopyKind::F32 => "f32",
            CopyKind::I8 => "i8",
            CopyKind::F16 | CopyKind::F16Matrices => "f16",
        }
    }

    /// Words of a row of `cols` numbers.
    pub fn stride(self, cols: usize) -> usize {
        let blocks = cols.div_ceil(16);
        let words = match self {
            CopyKind::F32 => 17 * blocks,
            CopyKind::I8 => 24 * cols.div_ceil(64) + blocks,
            CopyKind::F16 | CopyKind::F16Matrices => 32 * cols.div_ceil(64) + 4,
        };
        words.next_multiple_of(4)
    }

    /// Whether it is of whole rows in f16.
    pub fn is_halves(self) -> bool {
        matches!(self, CopyKind::F16 | CopyKind::F16Matrices)
    }

    /// Rows that a copy of `rows` has room for.
    pub fn room(self, rows: usize) -> usize {
        if self == CopyKind::F16Matrices { rows.next_multiple_of(16) } else { rows }
    }
}

/// A copy: of a value, or of what a norm makes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Copy {
    /// The norm that the copy stands in for, or the value itself.
    pub of: Node,
    /// The value that it is made from; of output rows in f16 the choice of them, which nothing else computes.
    pub source: Node,
    /// How it holds its numbers.
    pub kind: CopyKind,
    /// Rows of the copy to a row of the value: as many as there are experts whose numbers follow each other there.
    pub shares: usize,
}

impl Copy {
    /// A row for each row of the value.
    pub fn new(of: Node, source: Node, kind: CopyKind) -> Copy {
        Copy { of, source, kind, shares: 1 }
    }

    /// Numbers of a row.
    pub fn cols(&self, g: &Graph) -> usize {
        let Shape { cols, .. } = g.shape(self.source);
        cols / self.shares
    }

    /// Words from a row to the next.
    pub fn stride(&self, g: &Graph) -> usize {
        self.kind.stride(self.cols(g))
    }

    /// The norm whose weight scales it.
    pub fn norm(&self) -> Option<Node> {
        (self.of != self.source).then_some(self.of)
    }
}

/// Who writes which copy.
#[derive(Debug, Default)]
pub struct Copies {
    /// By the value that a copy is made from: the copy that is written along with it.
    along: HashMap<Node, Copy>,
}

impl Copies {
    /// The first copy that is wanted of each value is written along with the value, where whoever computes it can.
    pub fn new(wanted: &[Copy], writes_along: impl Fn(Node) -> bool) -> Copies {
        let mut copies = Copies::default();
        for &copy in wanted {
            if !copy.kind.is_halves() && writes_along(copy.source) {
                copies.along.entry(copy.source).or_insert(copy);
            }
        }
        copies
    }

    /// The copy that whoever computes `value` writes along with it.
    pub fn along(&self, value: Node) -> Option<Copy> {
        self.along.get(&value).copied()
    }

    /// Whether a copy is written along with its value.
    pub fn is_along(&self, copy: &Copy) -> bool {
        self.along.get(&copy.source) == Some(copy)
    }
}
