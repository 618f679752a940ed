//! Products and attention of many rows in registers alone, for programs that stand in for an adapter: `wgsl/matmul_lanes.wgsl`, `wgsl/attend_lanes.wgsl`.
//!
//! A workgroup is a subgroup, of which eight lanes load what all multiply. benches/README.md has the measurements.

use crate::gpu::caps::Caps;
use crate::gpu::plan::groups::op;
use crate::gpu::plan::{Planner, RowClass, SEVERAL};
use crate::graph::Graph;
use crate::ops::Op;

/// Lanes that load for all of a subgroup.
const LOADING: u32 = 8;
/// Rows of x of a workgroup, and rows of w of a lane.
pub const MATMUL_ROWS: u32 = 16;
pub const MATMUL_COLUMNS: u32 = 4;
/// Rows of a lane in attention, and numbers of a head at most.
pub const ATTEND_ROWS: u32 = 2;
pub const LONGEST: usize = 256;

/// Rows from which on an adapter multiplies so, if it ever does.
fn from(caps: &Caps) -> Option<u32> {
    let whole = caps.subgroups && caps.subgroup_size_fixed && caps.subgroup_size >= LOADING;
    caps.policy.lanes.filter(|_| whole && caps.matrix.is_none())
}

/// Whether a step is multiplied so.
pub fn fits(s: &Planner<'_>) -> bool {
    s.class == RowClass::Many && from(s.caps).is_some()
}

/// Rows up to which a step is not of many: fewer where these kernels do better than matvecs do. Experts and states of some dozens of rows are not theirs.
pub fn several(graph: &Graph, caps: &Caps) -> usize {
    let others = |node| matches!(op(graph, node), Some(Op::Route(_) | Op::DeltaRule(_) | Op::Ssd(_)));
    match from(caps) {
        Some(rows) if !graph.nodes().any(|(node, _)| others(node)) => {
            (rows as usize).clamp(2, SEVERAL + 1) - 1
        }
        _ => SEVERAL,
    }
}

/// The numbers of such a kernel's workgroup.
pub fn constants(caps: &Caps) -> Vec<(&'static str, f64)> {
    let mut constants = vec![("WORKGROUP", caps.subgroup_size as f64)];
    constants.extend(caps.subgroup_constant());
    constants
}
