//! GPU work as plain data: which kernel, with which numbers, over how many workgroups.

use serde::{Deserialize, Serialize};

use crate::graph::{Rows, Shape, Step};
use crate::ops::AttentionShape;

/// Workgroups of a 1-D dispatch beyond this many go on in the next y: every adapter takes 65,535 to a dimension.
/// `wgsl/lib/grid.wgsl` undoes it.
pub const FOLD: u32 = 32768;

/// The number of workgroups in x and y for `count` in all. Some of the last y may be too many: kernels check.
pub fn fold(count: u32) -> [u32; 2] {
    if count <= FOLD { [count, 1] } else { [FOLD, count.div_ceil(FOLD)] }
}

/// How many workgroups a dispatch has, in terms of what a step brings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Extent {
    /// `each` for every row, in one dimension, folded; `rows` of the result.
    PerRow {
        /// Whose rows.
        rows: Rows,
        /// Workgroups a row.
        each: u32,
    },
    /// `each` for every `tile` rows, in one dimension, folded; `rows` of the result.
    RowTiles {
        /// Whose rows.
        rows: Rows,
        /// Rows of a tile.
        tile: u32,
        /// Workgroups a tile.
        each: u32,
        /// None for other numbers of rows.
        within: RowRange,
    },
    /// `each` for every tile of `tile` rows that go to one of `experts` experts, as many as there can be where each row goes to `used`; folded.
    ExpertTiles {
        /// How many there are.
        experts: u32,
        /// How many a row goes to.
        used: u32,
        /// Rows of a tile.
        tile: u32,
        /// Workgroups a tile.
        each: u32,
    },
    /// One workgroup, if there are rows.
    One,
    /// Tiles of `tile` rows in y, `x` workgroups wide.
    Tiles {
        /// Whose rows.
        rows: Rows,
        /// Rows of a tile.
        tile: u32,
        /// Workgroups in x.
        x: u32,
    },
    /// One workgroup for every `tile` numbers of `rows` × `cols`, folded.
    Elements {
        /// Whose rows.
        rows: Rows,
        /// Numbers in a row.
        cols: u32,
        /// Numbers that a workgroup computes.
        tile: u32,
    },
    /// `x` workgroups for every row, in y, and every span of `span` positions that the row sees, in z, as many as any row has; none
    /// unless the last of all rows' positions is from `from` on and below `below`. 0 as the span: one for all positions.
    Spans {
        /// Workgroups of a span.
        x: u32,
        /// Positions of a span.
        span: u32,
        /// Which positions a row sees.
        shape: AttentionShape,
        /// The first position that there are workgroups for.
        from: u32,
        /// The first position that there are none for any more.
        below: u32,
    },
}

/// Numbers of rows that a dispatch is for, both ends included: others are for another dispatch of the same nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RowRange {
    /// The least.
    pub from: u32,
    /// The most.
    pub to: u32,
}

impl RowRange {
    /// Any number.
    pub const ALL: RowRange = RowRange { from: 0, to: u32::MAX };
}

impl Extent {
    /// Rows that a step must have for there to be anything to do.
    pub fn least(&self) -> usize {
        match self {
            Extent::RowTiles { within, .. } => within.from as usize,
            _ => 0,
        }
    }

    /// Whether there is anything to do in a step of these rows.
    pub fn runs(&self, step: &Step) -> bool {
        self.workgroups(step).iter().all(|&n| n > 0)
    }

    /// The number of workgroups in x, y and z.
    pub fn workgroups(&self, step: &Step) -> [u32; 3] {
        let count = |rows: Rows| Shape { rows, cols: 0 }.rows_in(step) as u32;
        match *self {
            Extent::PerRow { rows, each } => {
                let [x, y] = fold(count(rows) * each);
                [x, y, 1]
            }
            Extent::RowTiles { rows, tile, each, within } => {
                let count = count(rows);
                if !(within.from..=within.to).contains(&count) {
                    return [0; 3];
                }
                let [x, y] = fold(count.div_ceil(tile) * each);
                [x, y, 1]
            }
            Extent::ExpertTiles { experts, used, tile, each } => {
                let rows = step.rows.len() as u32;
                let [x, y] = fold(if rows == 0 { 0 } else { (rows * used / tile + experts) * each });
                [x, y, 1]
            }
            Extent::One => [(!step.rows.is_empty()) as u32, 1, 1],
            Extent::Tiles { rows, tile, x } => [x, count(rows).div_ceil(tile), 1],
            Extent::Elements { rows, cols, tile } => {
                let [x, y] = fold((count(rows) * cols).div_ceil(tile));
                [x, y, 1]
            }
            Extent::Spans { x, span, shape, from, below } => {
                let last = step.rows.iter().map(|row| row.position).max();
                if !last.is_some_and(|last| (from..below).contains(&last)) {
                    return [0; 3];
                }
                let spans = |position: u32| (position + 1).div_ceil(span) - shape.first_seen(position) / span;
                let z = if span == 0 {
                    1
                } else {
                    step.rows.iter().map(|row| spans(row.position)).max().unwrap_or(0)
                };
                [x, step.rows.len() as u32, z]
            }
        }
    }
}

/// A dispatch of the kernel `wgsl/<kernel>.wgsl`. Its group 0 binds the step (binding 0), then the node's inputs in order
/// (without a weight matrix, whose planes are group 1), then the result.
#[derive(Clone, Debug, PartialEq)]
pub struct Dispatch {
    /// The stem of the kernel's file.
    pub kernel: &'static str,
    /// Values of its overrides.
    pub constants: Vec<(&'static str, f64)>,
    /// Its workgroups.
    pub extent: Extent,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_workgroups_than_one_dimension_takes_are_folded() {
        assert_eq!(fold(0), [0, 1]);
        assert_eq!(fold(FOLD), [FOLD, 1]);
        assert_eq!(fold(FOLD + 1), [FOLD, 2]);
        let [x, y] = fold(300_000);
        assert!(x <= 65_535 && y <= 65_535 && x * y >= 300_000);
    }
}
