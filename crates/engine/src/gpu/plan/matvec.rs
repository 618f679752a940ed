//! How a matvec is spread over workgroups: pairs of rows, teams to a pair, and rows of x to a load of weights.
//!
//! Which is best for whom is in the adapter's [`Policy`](crate::gpu::plan::policy::Policy).

use serde::{Deserialize, Serialize};

use crate::formats::Format;
use crate::gpu::caps::Caps;
use crate::gpu::plan::SEVERAL;
use crate::gpu::plan::dispatch::{Dispatch, Extent, RowRange};
use crate::gpu::plan::policy::FormatClass;
use crate::graph::Rows;

/// Formats whose units take so long to decode that lanes without one cost more than loading x again for each row of a pair: each half of a subgroup has a row
/// to itself where that saves turns. For Q4_K it was no faster (benches/README.md).
const HALVED: &[&str] = &["MXFP4"];

/// Rows of x that share a load of weights, in steps of some numbers of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tile {
    /// How many rows.
    pub rows: u32,
    /// Whether a team takes two pairs at a time, so that x is loaded half as often.
    pub double: bool,
    /// Tiles that such a step has, about: with more of them a tile needs fewer invocations.
    pub tiles: u32,
    /// Teams of a subgroup: parts of it, whose turns are not unrolled, or all of it.
    pub teams: u32,
    /// Of which so many share rows of w, each with other rows of x.
    pub parts: u32,
    /// Of which steps.
    pub within: RowRange,
}

impl Tile {
    /// A tile for any number of rows.
    pub const fn of(rows: u32) -> Tile {
        Tile { rows, double: false, tiles: 1, teams: 1, parts: 1, within: RowRange::ALL }
    }

    /// For parts of subgroups.
    pub const fn new(rows: u32, double: bool, tiles: u32, [from, to]: [u32; 2]) -> Tile {
        Tile { rows, double, tiles, teams: 2, parts: 1, within: RowRange { from, to } }
    }

    /// Four rows, of which each team of a subgroup has two: weights come to a processor once for all of them.
    pub const fn across([from, to]: [u32; 2]) -> Tile {
        Tile { rows: 4, double: true, tiles: 4, teams: 2, parts: 2, within: RowRange { from, to } }
    }

    /// Two rows for whole subgroups.
    pub const fn whole([from, to]: [u32; 2]) -> Tile {
        Tile { rows: 2, double: true, tiles: 1, teams: 1, parts: 1, within: RowRange { from, to } }
    }

    /// The same tile, of other steps.
    pub const fn of_rows(self, [from, to]: [u32; 2]) -> Tile {
        Tile { within: RowRange { from, to }, ..self }
    }

    /// Refuses what the kernel is not written for.
    pub fn check(&self) -> Result<(), String> {
        let &Tile { rows, tiles, teams, parts, .. } = self;
        let counts =
            [2, 4, 8].contains(&rows) && [1, 2, 4].contains(&teams) && (1..=SEVERAL as u32).contains(&tiles);
        match counts && parts > 0 && teams.is_multiple_of(parts) && rows.is_multiple_of(parts) {
            true => Ok(()),
            false => Err(format!(
                "a tile has {rows} rows, {teams} teams in {parts} parts and {tiles} tiles; expected 2, 4 or 8, 1, 2 or 4 in parts that divide both, \
                 and 1 to {SEVERAL}"
            )),
        }
    }
}

/// Of one row.
pub const SINGLE: Tile = Tile::of(1);
/// Of few, where weights are multiplied in f32.
pub const PAIR: Tile = Tile::of(2);

/// The tiles of any number of few rows for `rows` rows of `cols` weights, of which a step takes one.
pub fn tiles(caps: &Caps, format: &Format, size: [usize; 2], integer: bool) -> Vec<Tile> {
    let mut tiles = if integer { caps.policy.few_tiles(format, size) } else { vec![PAIR] };
    // Where subgroups are of several sizes nothing is known of their parts, and four rows at once are too many.
    for tile in tiles.iter_mut().filter(|tile| tile.parts > 1 && !caps.subgroup_size_fixed) {
        *tile = Tile { rows: tile.rows / tile.parts, parts: 1, ..*tile };
    }
    tiles
}

/// Invocations that finish a row (`wgsl/matvec.wgsl`).
const LINE: u32 = 16;

/// Invocations of a workgroup that takes its pairs two at a time.
const SMALL: u32 = 128;

/// And of one that takes them one by one, where more would not all be resident.
const MEDIUM: u32 = 256;

/// Adds what makes `dispatch` a matvec of `rows` rows of `cols` weights, `pairs` pairs of rows to a workgroup, for a `tile` of rows of x at once. There are
/// `shares` rows of y, and as many times the weights, to a row of x.
#[allow(clippy::too_many_arguments)]
pub fn shape(
    caps: &Caps,
    format: &Format,
    cols: usize,
    rows: usize,
    [pairs, shares]: [u32; 2],
    tile: Tile,
    dispatch: &mut Dispatch,
    extent: Rows,
) {
    let most = caps.invocations.min(1024);
    let row_bytes: usize = format.planes.iter().map(|p| format.plane_row_bytes(p, cols)).sum();
    let units = (format.padded_cols(cols) / format.unit) as u32;
    let groups = (rows as u32).div_ceil(2 * pairs);
    // Where a unit takes many registers, not all workgroups of this width would be resident at once.
    let heavy = matches!(FormatClass::of(format), FormatClass::Blocks | FormatClass::Bytes);
    let enough = caps.policy.invocations;
    let crowded =
        |width: u32| tile.rows == 1 && shares == 1 && heavy && enough > 0 && groups * width > enough;
    // Of large matrices two pairs at a time: x is then loaded half as often.
    let large = tile.rows == 1 && caps.policy.is_large(shares as usize * rows * row_bytes) || crowded(MEDIUM);
    let double = (format.integer && (large || tile.double)) as u32;
    let tasks = pairs / (1 + double);
    let parted = caps.subgroup_size_fixed && caps.subgroup_size * tile.parts >= tile.teams * tile.rows;
    let [teams, parts] = if parted { [tile.teams, tile.parts] } else { [1, 1] };
    let lanes = caps.subgroup_size / teams;
    let lane_bytes = tile.tiles as usize * caps.policy.lane_bytes[format.integer as usize];
    let wanted = caps.policy.invocations / (tile.tiles * shares * groups * tasks * lanes * parts);
    let wanted = wanted.max((row_bytes / (lane_bytes * lanes as usize)) as u32);
    // A row has a unit at least for each lane of its teams, and a workgroup has room for all teams.
    let room = (units / lanes).min(most / (tasks * lanes * parts));
    let split = 1 << wanted.min(room).max(1).ilog2();
    // Two pairs at a time leave a workgroup long at work: small ones are all resident at once, and none runs behind the others.
    let width = match (double, split) {
        (1, 1) => SMALL,
        (0, 1) if crowded(tasks * lanes) => MEDIUM,
        _ => most,
    };
    let halves = (caps.subgroup_size_fixed
        && split == 1
        && double == 0
        && tile.rows == 1
        && (2 * units <= caps.subgroup_size
            || HALVED.contains(&format.name)
                && units.div_ceil(caps.subgroup_size / 2) < 2 * units.div_ceil(caps.subgroup_size)))
        as u32;
    let each = shares * groups;
    dispatch.extent = Extent::RowTiles { rows: extent, tile: tile.rows, each, within: tile.within };
    dispatch.constants.extend([("TILE", tile.rows as f64), ("TEAMS", teams as f64), ("PARTS", parts as f64)]);
    let width = (tasks * split * lanes * parts).min(width).max(32).max(LINE * tile.rows);
    spread(caps, Spread { pairs, groups, split, double, halves, line: LINE, width }, dispatch);
}

/// The workgroups of a matvec of one row that each of them makes for itself.
pub struct Made {
    /// Pairs of rows of a workgroup.
    pub pairs: u32,
    /// Teams of a pair.
    pub split: u32,
    /// Invocations of a workgroup.
    pub width: u32,
}

/// Workgroups that make a row (`plan/summed.rs`) have nothing to multiply while they do: there are about as many as processors, as large as can be, each of
/// `least` pairs or a multiple of that.
pub fn made(caps: &Caps, format: &Format, cols: usize, rows: usize, least: u32) -> Made {
    let (most, lanes) = (caps.invocations.min(1024), caps.subgroup_size);
    let units = (format.padded_cols(cols) / format.unit) as u32;
    let each = (rows as u32).div_ceil(2).div_ceil(caps.policy.processors).next_multiple_of(least);
    // Invocations of a workgroup finish a row each.
    let pairs = each.min((most / 2 / least * least).max(least));
    let turns = |split: u32| (pairs * split).div_ceil((most / lanes).max(1));
    // Units that a lane takes one after the other.
    let one_by_one = |split: &u32| turns(*split) * units.div_ceil(lanes * split);
    let splits = [1, 2, 4, 8].into_iter().filter(|split| *split == 1 || split * lanes / 2 < units);
    let split = splits.min_by_key(one_by_one).unwrap_or(1);
    let teams = (pairs * split).div_ceil(turns(split));
    let width = (teams * lanes).max(2 * pairs).max(32).next_multiple_of(lanes.max(1));
    Made { pairs, split, width }
}

/// Adds what makes `dispatch` such a matvec.
pub fn shape_of_made(
    caps: &Caps,
    format: &Format,
    [cols, rows]: [usize; 2],
    least: u32,
    dispatch: &mut Dispatch,
) {
    let Made { pairs, split, width } = made(caps, format, cols, rows, least);
    let groups = (rows as u32).div_ceil(2 * pairs);
    dispatch.extent = Extent::PerRow { rows: Rows::Step, each: groups };
    dispatch.constants.extend([("TILE", 1.0), ("TEAMS", 1.0), ("PARTS", 1.0)]);
    let line = (2 * pairs).max(LINE);
    spread(caps, Spread { pairs, groups, split, double: 0, halves: 0, line, width }, dispatch);
}

/// How the rows of a matrix are spread over workgroups and subgroups: `wgsl/matvec.wgsl` has what the numbers mean.
struct Spread {
    pairs: u32,
    groups: u32,
    split: u32,
    double: u32,
    halves: u32,
    line: u32,
    width: u32,
}

fn spread(caps: &Caps, spread: Spread, dispatch: &mut Dispatch) {
    let Spread { pairs, groups, split, double, halves, line, width } = spread;
    dispatch.kernel = "matvec";
    dispatch.constants.extend([
        ("GROUPS", groups as f64),
        ("PAIRS", pairs as f64),
        ("SPLIT", split as f64),
        ("DOUBLE", double as f64),
        ("HALVES", halves as f64),
        ("TASKS", (pairs / (1 + double) * split) as f64),
        ("LINE", line as f64),
        ("WORKGROUP", width as f64),
    ]);
    dispatch.constants.extend(caps.subgroup_constant());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::FORMATS;
    use crate::gpu::plan::policy::Policy;

    fn caps(invocations: u32, subgroup: u32, software: bool) -> Caps {
        Caps {
            subgroups: true,
            subgroup_size: subgroup,
            subgroup_size_fixed: true,
            matrix: None,
            invocations,
            software,
            workgroup_bytes: 32 << 10,
            binding: 1 << 30,
            buffer: 1 << 30,
            storage_buffers: 10,
            policy: Policy::default_of(software),
        }
    }

    fn shaped(caps: &Caps, format: &str, [rows, cols]: [usize; 2], pairs: u32) -> Dispatch {
        let format = FORMATS.iter().find(|f| f.name == format).unwrap();
        let extent = Extent::PerRow { rows: Rows::Step, each: 1 };
        let mut dispatch = Dispatch { kernel: "", constants: Vec::new(), extent };
        shape(caps, format, cols, rows, [pairs, 1], SINGLE, &mut dispatch, Rows::Step);
        dispatch
    }

    fn constant(dispatch: &Dispatch, name: &str) -> f64 {
        dispatch.constants.iter().find(|(n, _)| *n == name).map_or(f64::NAN, |(_, v)| *v)
    }

    #[test]
    fn every_lane_has_a_unit_and_every_team_a_task() {
        for caps in [caps(1024, 32, false), caps(256, 4, false), caps(1024, 64, false), caps(1024, 8, true)] {
            for (format, unit) in [("Q8_0", 64), ("Q4_K", 64), ("F16", 8), ("F32", 4)] {
                for size in [[2048, 2048], [2048, 8192], [28672, 4096], [576, 576], [16, 256], [128256, 4096]]
                {
                    for pairs in [8, 16] {
                        let d = shaped(&caps, format, size, pairs);
                        let number = |name| constant(&d, name) as u32;
                        let (split, tasks) = (number("SPLIT"), number("TASKS"));
                        let what = format!("{format} {size:?} in subgroups of {}: {d:?}", caps.subgroup_size);
                        assert!(
                            split == 1 || split * caps.subgroup_size <= (size[1] / unit) as u32,
                            "{what}"
                        );
                        assert_eq!(tasks * (1 + number("DOUBLE")), pairs * split, "{what}");
                        assert!(number("WORKGROUP") <= caps.invocations, "{what}");
                        assert!(
                            number("WORKGROUP") <= tasks * caps.subgroup_size || number("WORKGROUP") == 32,
                            "{what}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn one_tile_is_for_every_number_of_few_rows() {
        for format in FORMATS {
            for (integer, software) in [(true, false), (false, false), (true, true)] {
                let integer = integer && format.integer;
                let tiles = tiles(&caps(1024, 32, software), format, [4096, 4096], integer);
                for rows in 1..=64 {
                    let count =
                        tiles.iter().filter(|t| (t.within.from..=t.within.to).contains(&rows)).count();
                    assert_eq!(count, 1, "{rows} rows of {}", format.name);
                }
            }
        }
    }

    #[test]
    fn teams_have_a_lane_for_each_row_and_a_unit_for_each_lane() {
        for caps in [caps(1024, 32, false), caps(256, 4, false), caps(1024, 64, false), caps(1024, 8, true)] {
            for name in ["Q8_0", "Q4_K"] {
                let format = FORMATS.iter().find(|f| f.name == name).unwrap();
                let sizes = [[2048, 2048], [4096, 28672], [576, 576], [14336, 4096], [4096, 128256]];
                for [cols, rows] in sizes {
                    for tile in tiles(&caps, format, [cols, rows], true) {
                        let extent = Extent::PerRow { rows: Rows::Step, each: 1 };
                        let mut d = Dispatch { kernel: "", constants: Vec::new(), extent };
                        shape(&caps, format, cols, rows, [8, 1], tile, &mut d, Rows::Step);
                        let number = |name| constant(&d, name) as u32;
                        let lanes = caps.subgroup_size / number("TEAMS");
                        let what =
                            format!("{name} {rows} × {cols} in subgroups of {}: {d:?}", caps.subgroup_size);
                        assert!(number("TEAMS") == 1 || lanes * number("PARTS") >= tile.rows, "{what}");
                        assert_eq!(number("TEAMS") % number("PARTS"), 0, "{what}");
                        assert_eq!(tile.rows % number("PARTS"), 0, "{what}");
                        let split = number("SPLIT");
                        assert!(split == 1 || split * lanes <= (cols / 64) as u32, "{what}");
                        assert!(number("WORKGROUP") <= caps.invocations, "{what}");
                        assert_eq!(number("WORKGROUP") % caps.subgroup_size, 0, "{what}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_makes_its_row_has_a_workgroup_for_each_processor() {
        let of = |format: &str, [rows, cols]: [usize; 2], least, invocations| {
            let format = FORMATS.iter().find(|f| f.name == format).unwrap();
            let Made { pairs, split, width } = made(&caps(invocations, 32, false), format, cols, rows, least);
            assert!((2 * pairs..=invocations).contains(&width) && pairs.is_multiple_of(least));
            (pairs, split, width)
        };
        // Gate and up of Gemma 4B and 1B, and queries and keys of the former: a unit or two for a lane.
        assert_eq!(of("Q4_K", [20480, 2560], 16, 1024), (80, 2, 1024));
        assert_eq!(of("Q8_0", [13824, 1152], 16, 1024), (64, 1, 1024));
        assert_eq!(of("Q4_K", [4096, 2560], 8, 1024), (16, 2, 1024));
        // Each number is finished by an invocation of its own.
        assert_eq!(of("Q4_K", [1 << 20, 2560], 16, 256).0, 128);
    }

    #[test]
    fn short_rows_share_a_team() {
        let halves = |cols| constant(&shaped(&caps(1024, 32, false), "Q8_0", [576, cols], 8), "HALVES");
        assert_eq!((halves(1024), halves(1088)), (1.0, 0.0));
    }

    #[test]
    fn workgroups_of_registers_enough_are_resident_at_once() {
        let shape = |format, size| {
            let d = shaped(&caps(1024, 32, false), format, size, 16);
            (constant(&d, "WORKGROUP"), constant(&d, "DOUBLE"))
        };
        // Gate and up of Llama 1B, of Gemma 4B, and of SmolLM2: all at once, twice as many, and few.
        assert_eq!(
            (shape("Q4_K", [16384, 2048]), shape("Q4_0", [16384, 2048])),
            ((256.0, 0.0), (512.0, 0.0))
        );
        assert_eq!(
            (shape("Q4_K", [20480, 2560]), shape("Q4_0", [20480, 2560])),
            ((128.0, 1.0), (512.0, 0.0))
        );
        assert_eq!(shape("Q8_0", [3072, 576]), (512.0, 0.0));
    }

    #[test]
    fn rows_that_are_slow_to_decode_share_a_team_where_that_saves_turns() {
        let halves = |format| constant(&shaped(&caps(1024, 32, false), format, [576, 2880], 8), "HALVES");
        assert_eq!((halves("MXFP4"), halves("Q8_0")), (1.0, 0.0));
        assert_eq!(constant(&shaped(&caps(1024, 32, false), "MXFP4", [576, 2048], 8), "HALVES"), 0.0);
    }
}
