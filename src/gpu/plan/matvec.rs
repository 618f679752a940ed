//! How a matvec is spread over workgroups: pairs of rows, and subgroups to a pair.
//!
//! The numbers are what an H100 did best with over the shapes of Llama 1B and 8B; benches/README.md has the measurements.

use crate::formats::Format;
use crate::gpu::caps::Caps;
use crate::gpu::plan::dispatch::{Dispatch, Extent, RowRange};
use crate::graph::Rows;

/// Invocations that a dispatch should have: with fewer the memory waits for requests, with more for sums.
const INVOCATIONS: u32 = 128 << 10;

/// Bytes of a weight row that an invocation walks along at most, multiplied in f32 and in integers.
const LANE_BYTES: [usize; 2] = [64, 128];

/// Bytes of a large matrix.
const LARGE: usize = 40 << 20;

/// Formats whose units take so long to decode that lanes without one cost more than loading x again for each row of a pair: each half of a subgroup has a row
/// to itself where that saves turns. For Q4_K it was no faster (benches/README.md).
const HALVED: &[&str] = &["MXFP4"];

/// Rows of x that share a load of weights where there are few. Four were no faster in Q8_0, and slower by a fifth in Q4_K, whose
/// units then no longer fit into registers (benches/README.md).
pub const TILE: u32 = 2;

/// Invocations that finish a row (`wgsl/matvec.wgsl`).
const LINE: u32 = 16;

/// Invocations of a workgroup that takes its pairs two at a time.
const SMALL: u32 = 128;

/// Adds what makes `dispatch` a matvec of `rows` rows of `cols` weights, `pairs` pairs of rows to a workgroup, for `tile` rows of x at once, which are
/// multiplied as integers or in f32. There are `shares` rows of y, and as many times the weights, to a row of x.
#[allow(clippy::too_many_arguments)]
pub fn shape(
    caps: &Caps,
    format: &Format,
    cols: usize,
    rows: usize,
    [pairs, tile, shares]: [u32; 3],
    integer: bool,
    dispatch: &mut Dispatch,
    extent: Rows,
) {
    let most = caps.invocations.min(1024);
    let row_bytes: usize = format.planes.iter().map(|p| format.plane_row_bytes(p, cols)).sum();
    let units = (format.padded_cols(cols) / format.unit) as u32;
    let groups = (rows as u32).div_ceil(2 * pairs);
    // Of large matrices, and of all that several rows multiply as integers, two pairs at a time: x is then loaded half as often.
    let double = (format.integer
        && if tile > 1 { integer } else { shares as usize * rows * row_bytes > LARGE })
        as u32;
    let tasks = pairs / (1 + double);
    let wanted = if caps.software { 1 } else { INVOCATIONS / (shares * groups * tasks * caps.subgroup_size) };
    let wanted =
        wanted.max((row_bytes / (LANE_BYTES[format.integer as usize] * caps.subgroup_size as usize)) as u32);
    // A row has a unit at least for each lane of its subgroups, and a workgroup has room for all subgroups.
    let room = (units / caps.subgroup_size).min(most / (tasks * caps.subgroup_size));
    let split = 1 << wanted.min(room).max(1).ilog2();
    // Two pairs at a time leave a workgroup long at work: small ones are all resident at once, and none runs behind the others.
    let width = if double == 1 && split == 1 { SMALL } else { most };
    let halves = (caps.subgroup_size_fixed
        && split == 1
        && double == 0
        && tile == 1
        && (2 * units <= caps.subgroup_size
            || HALVED.contains(&format.name)
                && units.div_ceil(caps.subgroup_size / 2) < 2 * units.div_ceil(caps.subgroup_size)))
        as u32;
    dispatch.kernel = "matvec";
    dispatch.extent = Extent::RowTiles { rows: extent, tile, each: shares * groups, within: RowRange::ALL };
    dispatch.constants.extend([
        ("TILE", tile as f64),
        ("GROUPS", groups as f64),
        ("PAIRS", pairs as f64),
        ("SPLIT", split as f64),
        ("DOUBLE", double as f64),
        ("HALVES", halves as f64),
        ("TASKS", (tasks * split) as f64),
        ("WORKGROUP", (tasks * split * caps.subgroup_size).min(width).max(32).max(LINE * tile) as f64),
    ]);
    dispatch.constants.extend(caps.subgroup_constant());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::FORMATS;

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
        }
    }

    fn shaped(caps: &Caps, format: &str, [rows, cols]: [usize; 2], pairs: u32) -> Dispatch {
        let format = FORMATS.iter().find(|f| f.name == format).unwrap();
        let extent = Extent::PerRow { rows: Rows::Step, each: 1 };
        let mut dispatch = Dispatch { kernel: "", constants: Vec::new(), extent };
        shape(caps, format, cols, rows, [pairs, 1, 1], true, &mut dispatch, Rows::Step);
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
    fn short_rows_share_a_team() {
        let halves = |cols| constant(&shaped(&caps(1024, 32, false), "Q8_0", [576, cols], 8), "HALVES");
        assert_eq!((halves(1024), halves(1088)), (1.0, 0.0));
    }

    #[test]
    fn rows_that_are_slow_to_decode_share_a_team_where_that_saves_turns() {
        let halves = |format| constant(&shaped(&caps(1024, 32, false), format, [576, 2880], 8), "HALVES");
        assert_eq!((halves("MXFP4"), halves("Q8_0")), (1.0, 0.0));
        assert_eq!(constant(&shaped(&caps(1024, 32, false), "MXFP4", [576, 2048], 8), "HALVES"), 0.0);
    }
}
