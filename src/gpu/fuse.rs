//! Which nodes one dispatch computes together: one table of patterns. A fusion never changes a value: those that others read are
//! written as before, those in between are just not kept. The CPU still computes the nodes one by one, so `check` holds
//! fused kernels to them.

use crate::gpu::plan::{Planned, Setting};
use crate::graph::Node;

/// The dispatches of the first fusion that begins with `node`.
pub fn first_match(_setting: &Setting<'_>, _node: Node) -> Option<Vec<Planned>> {
    None
}
