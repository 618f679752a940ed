//! How a matvec is spread over workgroups: pairs of rows, and teams to a pair.

use crate::formats::Format;
use crate::gpu::device::Caps;
use crate::graph::Rows;
use crate::ops::{Dispatch, Extent};

/// Bytes of a weight row that a lane should have in flight at once: with fewer teams to a pair the memory waits for the lanes, with
/// more the lanes wait for the sum.
const LANE_BYTES: usize = 32;

/// Bytes of a large matrix.
const LARGE: usize = 16 << 20;

/// Adds what makes `dispatch` a matvec of `rows` rows of `cols` weights, `pairs` pairs of rows to a workgroup.
pub fn shape(
    caps: &Caps,
    format: &Format,
    cols: usize,
    rows: usize,
    pairs: u32,
    dispatch: &mut Dispatch,
    extent: Rows,
) {
    let most = caps.invocations.min(1024);
    let row_bytes: usize = format.planes.iter().map(|p| format.plane_row_bytes(p, cols)).sum();
    // Of large matrices in integers two pairs at a time: the lanes are then busier with what they multiply than with weights.
    let double = (format.integer && rows * row_bytes > LARGE) as u32;
    let tasks = pairs / (1 + double);
    let wanted = (row_bytes / (LANE_BYTES * caps.team as usize)).max(1) as u32;
    let split = (1 << wanted.ilog2()).clamp(1, (most / (tasks * caps.team)).max(1));
    let split: u32 = 1 << u32::ilog2(split);
    let groups = (rows as u32).div_ceil(2 * pairs);
    dispatch.kernel = "matvec";
    dispatch.extent = Extent::PerRow { rows: extent, each: groups };
    dispatch.constants.extend([
        ("GROUPS", groups as f64),
        ("PAIRS", pairs as f64),
        ("SPLIT", split as f64),
        ("DOUBLE", double as f64),
        ("TASKS", (tasks * split) as f64),
        ("WORKGROUP", (tasks * split * caps.team).min(most).max(32) as f64),
        ("TEAM", if caps.team_fixed { caps.team as f64 } else { 0.0 }),
    ]);
}
