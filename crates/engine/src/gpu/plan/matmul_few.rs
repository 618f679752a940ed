//! Matmuls of some dozens of rows on matrix units: from how many rows on, and which tile takes how many.
//!
//! Which is best for whom is in the adapter's [`Policy`](crate::gpu::plan::policy::Policy).

use crate::gpu::caps::{Caps, Matrix};
use crate::gpu::plan::copies::CopyKind;
use crate::gpu::plan::dispatch::{Dispatch, Extent, RowRange};
use crate::gpu::plan::kernels::matvec_constants;
use crate::graph::Rows;

/// Columns of a subgroup, in a row of a tile that is padded by 16 bytes: as in the kernel.
const SEGMENT: u32 = 64;
const LINE_BYTES: u32 = 2 * (SEGMENT + 8);
const PADDING: u32 = 128;
/// Rows of w in a tile.
const COLUMNS: u32 = 32;

/// A tile of a workgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile {
    /// Rows of x.
    pub rows: u32,
    /// Subgroups that share the columns of both.
    pub shares: u32,
}

/// Rows of x.
const ROWS: [u32; 3] = [16, 32, 64];

impl Tile {
    /// Invocations of a workgroup.
    fn invocations(&self, caps: &Caps, matrix: Matrix) -> u32 {
        self.shares * matrix.subgroup(caps)
    }

    /// Whether an adapter can run it.
    fn fits(&self, caps: &Caps, matrix: Matrix) -> bool {
        let size = matrix.size();
        let bytes = self.shares * (COLUMNS * LINE_BYTES + 4 * size * size) + PADDING + 4 * self.rows;
        self.rows <= 4 * size
            && self.invocations(caps, matrix) <= caps.invocations
            && bytes <= caps.workgroup_bytes
    }

    /// The tile of `rows` rows of x for `columns` rows of w.
    fn choose(caps: &Caps, matrix: Matrix, rows: u32, columns: u32) -> Option<Tile> {
        let groups = columns.div_ceil(COLUMNS);
        let all = &caps.policy.shares;
        let wanted = all.iter().find(|(_, least)| groups >= *least).map_or(2, |(shares, _)| *shares);
        let tiles = all.iter().rev().map(|&(shares, _)| Tile { rows, shares });
        tiles.filter(|tile| tile.shares <= wanted).find(|tile| tile.fits(caps, matrix))
    }
}

/// Whether an adapter has matrix units and a tile for them.
pub fn fits(caps: &Caps) -> bool {
    caps.matrix.is_some_and(|matrix| Tile::choose(caps, matrix, ROWS[0], 1).is_some())
}

/// The dispatches for any number of `rows`, of which one runs, over `n` rows of `cols` weights from row `first` of what is bound on.
pub fn shapes(caps: &Caps, [cols, n, first]: [usize; 3], rows: Rows) -> Vec<Dispatch> {
    let Some(matrix) = caps.matrix else { panic!("what fits has matrix units") };
    let tile = |&rows: &u32| Tile::choose(caps, matrix, rows, n as u32);
    let tiles: Vec<Tile> = ROWS.iter().filter_map(tile).collect();
    let of = |(i, tile): (usize, &Tile)| {
        let from = if i == 0 { 0 } else { tiles[i - 1].rows + 1 };
        let to = if i + 1 < tiles.len() { tile.rows } else { u32::MAX };
        shape(caps, matrix, *tile, [cols, n, first], rows, RowRange { from, to })
    };
    tiles.iter().enumerate().map(of).collect()
}

/// Up to how many rows a step counts as so many tiles of rows: each is as many workgroups more, so that fewer subgroups need share the columns of one.
const ROW_TILES: [(u32, u32); 3] = [(128, 2), (320, 4), (u32::MAX, 8)];

/// The dispatches for those steps of many rows that are `within` a range, of which one runs; none where no tile fits.
pub fn short(caps: &Caps, [cols, n, first]: [usize; 3], within: RowRange) -> Vec<Dispatch> {
    let Some(matrix) = caps.matrix else { return Vec::new() };
    let mut all: Vec<(Tile, RowRange)> = Vec::new();
    for (to, row_tiles) in ROW_TILES {
        let (from, to) = (all.last().map_or(within.from, |(_, range)| range.to + 1), to.min(within.to));
        let tile = |&rows: &u32| Tile::choose(caps, matrix, rows, row_tiles * n as u32);
        let Some(tile) = ROWS.iter().rev().find_map(tile) else { break };
        match all.last_mut() {
            Some((last, range)) if *last == tile => range.to = to,
            _ => all.push((tile, RowRange { from, to })),
        }
        if to == within.to {
            break;
        }
    }
    let of = |(tile, within)| shape(caps, matrix, tile, [cols, n, first], Rows::Step, within);
    all.into_iter().map(of).collect()
}

fn shape(
    caps: &Caps,
    matrix: Matrix,
    tile: Tile,
    [cols, n, first]: [usize; 3],
    rows: Rows,
    within: RowRange,
) -> Dispatch {
    let mut constants = matvec_constants(cols, n, first);
    constants.extend([
        ("X_STRIDE", CopyKind::F16.stride(cols) as f64),
        ("OUTPUT_ROWS", (rows == Rows::Outputs) as u32 as f64),
        ("ROWS", tile.rows as f64),
        ("COLUMNS", COLUMNS as f64),
        ("SHARES", tile.shares as f64),
        ("WORKGROUP", tile.invocations(caps, matrix) as f64),
    ]);
    if matrix != Matrix::Emulated {
        constants.extend(caps.subgroup_constant());
    }
    let each = (n as u32).div_ceil(COLUMNS);
    Dispatch {
        kernel: "matmul_few",
        constants,
        extent: Extent::RowTiles { rows, tile: tile.rows, each, within },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::plan::policy::Policy;
    use crate::graph::{Row, Step};

    fn caps(matrix: Matrix, workgroup_bytes: u32) -> Caps {
        Caps {
            subgroups: true,
            subgroup_size: 32,
            subgroup_size_fixed: true,
            matrix: Some(matrix),
            invocations: 256,
            software: false,
            workgroup_bytes,
            binding: 1 << 30,
            buffer: 1 << 30,
            storage_buffers: 10,
            policy: Policy::HARDWARE,
        }
    }

    #[test]
    fn one_dispatch_runs_for_every_number_of_rows() {
        for matrix in [Matrix::Sixteen, Matrix::Eight, Matrix::Emulated] {
            for bytes in [16 << 10, 48 << 10] {
                let all = shapes(&caps(matrix, bytes), [4096, 4096, 0], Rows::Step);
                for count in 1..=64 {
                    let rows = vec![Row { token: 0, slot: 0, position: 0 }; count];
                    let step = Step { rows, outputs: Vec::new() };
                    let groups: Vec<u32> = all.iter().map(|d| d.extent.workgroups(&step)[0]).collect();
                    let running = groups.iter().filter(|&&n| n > 0).count();
                    assert_eq!(running, 1, "{count} rows in {bytes} bytes, {matrix:?}: {groups:?}");
                }
            }
        }
    }

    #[test]
    fn one_dispatch_runs_for_every_number_of_many_rows_within() {
        for n in [1024, 4096, 28672] {
            let all = short(&caps(Matrix::Sixteen, 48 << 10), [4096, n, 0], RowRange { from: 0, to: 512 });
            for count in [1, 65, 127, 128, 129, 320, 321, 512, 513] {
                let rows = vec![Row { token: 0, slot: 0, position: 0 }; count];
                let step = Step { rows, outputs: Vec::new() };
                let running = all.iter().filter(|d| d.extent.workgroups(&step)[0] > 0).count();
                assert_eq!(running, (count <= 512) as usize, "{count} rows by {n}");
            }
        }
    }

    #[test]
    fn few_workgroups_have_many_subgroups_if_there_is_room() {
        let shares = |bytes, n| {
            let caps = caps(Matrix::Sixteen, bytes);
            Tile::choose(&caps, Matrix::Sixteen, 64, n).map(|t| t.shares)
        };
        assert_eq!([28672, 6144, 4096].map(|n| shares(48 << 10, n)), [2, 4, 8].map(Some));
        assert_eq!(shares(16 << 10, 4096), Some(2));
    }
}
