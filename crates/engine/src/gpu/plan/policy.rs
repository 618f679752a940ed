//! Which kernel multiplies how many rows with which matrices, as data: what one adapter does best with, another may not.
//!
//! The defaults are what an H100 and an H200 did best with over the shapes of Llama 1B and 8B (benches/README.md has the measurements), and what
//! does least work on a software adapter. `bench --tune` finds an adapter's own (`gpu/tune/`). Whatever is in it, results are the same within what
//! `check` allows: it chooses between kernels that are each held to that.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::formats::{FORMATS, Format};
use crate::gpu::plan::SEVERAL;
use crate::gpu::plan::dispatch::RowRange;
use crate::gpu::plan::matvec::Tile;

/// Formats that the same kernels suit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FormatClass {
    /// Floats.
    Floats,
    /// Integers in blocks with several scales, beside whose units four rows of x do not fit into registers.
    Blocks,
    /// Integers of a byte each.
    Bytes,
    /// Integers of fewer bits.
    Bits,
}

impl FormatClass {
    /// Those that store integers.
    pub const INTEGERS: [FormatClass; 3] = [FormatClass::Blocks, FormatClass::Bytes, FormatClass::Bits];

    /// The class of a format.
    pub fn of(format: &Format) -> FormatClass {
        match format.integer {
            false => FormatClass::Floats,
            true if format.weights > 32 => FormatClass::Blocks,
            true if format.bytes > format.weights => FormatClass::Bytes,
            true => FormatClass::Bits,
        }
    }
}

/// Steps, by how many rows they have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Steps {
    /// One.
    One,
    /// As many as matvecs are for.
    Few,
    /// More.
    Many,
}

/// A tile of matvecs of few rows by integers, and for which matrices it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FewTile {
    /// Formats.
    pub formats: FormatClass,
    /// Whether matrices are large.
    pub large: bool,
    /// The tile, of some numbers of rows.
    pub tile: Tile,
}

/// Up to how many rows matvecs are faster than tiles on matrix units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ByMatvec {
    /// Formats of most weights.
    pub formats: FormatClass,
    /// Bytes that matrices have at least on average; the first row of the table that holds counts.
    pub bytes: usize,
    /// Rows.
    pub rows: usize,
}

/// Formats of integers that are faster multiplied in f32, in some steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InFloats {
    /// Formats.
    pub formats: FormatClass,
    /// Of which steps.
    pub steps: Steps,
}

/// The table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Invocations that a matvec should have: with fewer the memory waits for requests, with more for sums. 0: as few as there can be.
    pub invocations: u32,
    /// Workgroups of what each of them has to prepare for itself: as many as the adapter has processors.
    #[serde(default = "processors")]
    pub processors: u32,
    /// Bytes of a weight row that an invocation walks along at most, multiplied in f32 and in integers.
    pub lane_bytes: [usize; 2],
    /// Bytes beyond which a matrix is large.
    pub large: usize,
    /// The same of one in blocks with several scales, for few rows.
    pub large_blocks: usize,
    /// Formats of integers that are not multiplied as such.
    pub in_floats: Cow<'static, [InFloats]>,
    /// Tiles of matvecs of few rows by integers.
    pub few: Cow<'static, [FewTile]>,
    /// From how many rows on matrix units multiply in tiles.
    pub by_matvec: Cow<'static, [ByMatvec]>,
    /// Rows of a step up to which these tiles are `matmul_few`'s.
    pub short: u32,
    /// Subgroups of a workgroup of `matmul_few`, and workgroups that a dispatch should have for them: the fewer there are, the longer each is at
    /// work. The first fits into 16 KiB of workgroup memory.
    pub shares: [(u32, u32); 3],
    /// Workgroups that a dispatch of `matmul_matrix` should have, if there is a tile small enough: fewer leave processors idle.
    pub workgroups: u32,
    /// Rows from which on a step has kernels that load each number once (`plan/lanes.rs`), if it ever has.
    #[serde(default)]
    pub lanes: Option<u32>,
}

const fn processors() -> u32 {
    132
}

const fn of(formats: FormatClass, large: bool, tile: Tile) -> FewTile {
    FewTile { formats, large, tile }
}

const fn by_matvec(formats: FormatClass, bytes: usize, rows: usize) -> ByMatvec {
    ByMatvec { formats, bytes, rows }
}

/// On a software adapter.
const WHOLE: Tile = Tile::whole([0, u32::MAX]);

impl Policy {
    /// Of hardware.
    pub const HARDWARE: Policy = {
        use FormatClass::{Bits, Blocks, Bytes, Floats};
        Policy {
            invocations: 128 << 10,
            processors: processors(),
            lane_bytes: [64, 128],
            large: 40 << 20,
            large_blocks: 50 << 20,
            in_floats: Cow::Borrowed(&[]),
            few: Cow::Borrowed(&[
                of(Bytes, false, Tile::new(2, false, 1, [0, 2])),
                of(Bytes, false, Tile::new(2, false, 2, [3, 4])),
                of(Bytes, false, Tile::new(4, true, 2, [5, u32::MAX])),
                of(Bits, false, Tile::new(2, false, 1, [0, 2])),
                of(Bits, false, Tile::new(2, false, 2, [3, 6])),
                of(Bits, false, Tile::new(4, true, 2, [7, u32::MAX])),
                // Of large matrices the fewer the rows, the more weights have to be on their way.
                of(Bytes, true, Tile::new(2, false, 2, [0, 2])),
                of(Bytes, true, Tile::new(4, true, 4, [3, u32::MAX])),
                of(Bits, true, Tile::whole([0, 6])),
                of(Bits, true, Tile::new(4, true, 2, [7, u32::MAX])),
                // Four rows at a time where they fill their tiles.
                of(Blocks, false, Tile::new(2, false, 1, [0, 2])),
                of(Blocks, false, Tile::new(2, false, 2, [3, 8])),
                of(Blocks, false, Tile::new(4, true, 4, [9, u32::MAX])),
                of(Blocks, true, Tile::whole([0, 2])),
                of(Blocks, true, Tile::across([3, 4])),
                of(Blocks, true, Tile::new(2, true, 4, [5, 6])),
                of(Blocks, true, Tile::new(4, true, 4, [7, 12])),
                of(Blocks, true, Tile::new(2, true, 4, [13, u32::MAX])),
            ]),
            // The smaller matrices are, the more an operation more costs.
            by_matvec: Cow::Borrowed(&[
                by_matvec(Blocks, 24 << 20, 12),
                by_matvec(Blocks, 16 << 20, 20),
                by_matvec(Blocks, 3 << 20, 22),
                by_matvec(Blocks, 0, SEVERAL),
                by_matvec(Bytes, 24 << 20, 12),
                by_matvec(Bytes, 16 << 20, 20),
                by_matvec(Bytes, 3 << 20, 22),
                by_matvec(Bytes, 0, SEVERAL),
                by_matvec(Bits, 24 << 20, 12),
                by_matvec(Bits, 16 << 20, 20),
                by_matvec(Bits, 3 << 20, 22),
                by_matvec(Bits, 0, SEVERAL),
                by_matvec(Floats, 0, 4),
            ]),
            short: 512,
            shares: [(2, 528), (4, 140), (8, 0)],
            workgroups: 120,
            lanes: None,
        }
    };

    /// Of a program: there work counts, where on hardware waiting does.
    pub const SOFTWARE: Policy = Policy {
        invocations: 0,
        lanes: Some(9),
        few: {
            use FormatClass::{Bits, Blocks, Bytes};
            Cow::Borrowed(&[
                of(Bytes, false, WHOLE),
                of(Bytes, true, WHOLE),
                of(Bits, false, WHOLE),
                of(Bits, true, WHOLE),
                of(Blocks, false, WHOLE),
                of(Blocks, true, WHOLE),
            ])
        },
        ..Policy::HARDWARE
    };

    /// What an adapter begins with.
    pub const fn default_of(software: bool) -> Policy {
        if software { Policy::SOFTWARE } else { Policy::HARDWARE }
    }

    /// The tiles of any number of few rows for `rows` rows of `cols` weights by integers, of which a step takes one.
    pub fn few_tiles(&self, format: &Format, [cols, rows]: [usize; 2]) -> Vec<Tile> {
        let (class, large) = self.class_of_few(format, [cols, rows]);
        self.few.iter().filter(|few| few.formats == class && few.large == large).map(|few| few.tile).collect()
    }

    /// The formats whose tiles of few rows a matrix has, and whether it is a large one of them.
    pub fn class_of_few(&self, format: &Format, [cols, rows]: [usize; 2]) -> (FormatClass, bool) {
        let formats = FormatClass::of(format);
        let large = if formats == FormatClass::Blocks { self.large_blocks } else { self.large };
        (formats, rows * format.row_bytes(cols) > large)
    }

    /// Whether a matrix of so many bytes is large.
    pub fn is_large(&self, bytes: usize) -> bool {
        bytes > self.large
    }

    /// Rows up to which a step's products are matvecs, where most weights have `format` and a matrix has `bytes` on average.
    pub fn by_matvec(&self, format: &Format, bytes: usize) -> usize {
        let holds = |row: &&ByMatvec| row.formats == FormatClass::of(format) && bytes >= row.bytes;
        self.by_matvec.iter().find(holds).map_or(SEVERAL, |row| row.rows)
    }

    /// Whether weights are multiplied as integers in such steps, if their format stores such.
    pub fn in_integers(&self, format: &Format, steps: Steps) -> bool {
        let formats = FormatClass::of(format);
        format.integer && !self.in_floats.contains(&InFloats { formats, steps })
    }

    /// Refuses a table that kernels could not be planned by, with what is wrong in it.
    pub fn check(&self) -> Result<(), String> {
        if self.invocations > 1 << 24 {
            return Err(format!("invocations {} are more than {}", self.invocations, 1 << 24));
        }
        if self.processors == 0 {
            return Err("processors must be above 0".into());
        }
        if self.lane_bytes.contains(&0) {
            return Err(format!("lane_bytes {:?} must be above 0", self.lane_bytes));
        }
        for few in &*self.few {
            few.tile.check()?;
        }
        for &format in FORMATS.iter().filter(|format| format.integer) {
            for large in [false, true] {
                let class = FormatClass::of(format);
                let of = self.few.iter().filter(|few| few.formats == class && few.large == large);
                let ranges: Vec<RowRange> = of.map(|few| few.tile.within).collect();
                for rows in 0..=SEVERAL as u32 {
                    let count = ranges.iter().filter(|range| (range.from..=range.to).contains(&rows)).count();
                    if count != 1 {
                        let size = if large { "large" } else { "small" };
                        return Err(format!(
                            "few: {count} tiles are for {rows} rows of {size} matrices in {class:?}, expected one"
                        ));
                    }
                }
            }
        }
        let shares = self.shares.map(|(subgroups, _)| subgroups);
        if shares != Policy::HARDWARE.shares.map(|(subgroups, _)| subgroups) {
            return Err(format!("shares: {shares:?} subgroups, expected 2, 4, 8"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_hold_and_are_read_as_they_are_written() {
        for policy in [Policy::HARDWARE, Policy::SOFTWARE] {
            policy.check().unwrap();
            let text = serde_json::to_string(&policy).unwrap();
            assert_eq!(serde_json::from_str::<Policy>(&text).unwrap(), policy);
        }
    }

    #[test]
    fn a_table_that_leaves_a_number_of_rows_out_is_refused() {
        let mut policy = Policy::HARDWARE;
        policy.few.to_mut().remove(1);
        let found = policy.check().unwrap_err();
        assert_eq!(found, "few: 0 tiles are for 3 rows of small matrices in Bytes, expected one");
    }

    #[test]
    fn a_tile_of_three_rows_is_refused() {
        let mut policy = Policy::HARDWARE;
        policy.few.to_mut()[0].tile.rows = 3;
        assert!(policy.check().unwrap_err().contains("3"));
    }
}
