//! How many dispatches of a token wait for each other: what decode costs besides the bytes that it reads.

use std::collections::HashMap;

use crate::backend::Precision;
use crate::error::{Error, Result};
use crate::gpu::caps::Caps;
use crate::gpu::link::linked;
use crate::gpu::memory::weights::Layout;
use crate::gpu::plan::policy::Policy;
use crate::gpu::plan::{Launch, Operand, Planner, RowClass, groups, plan};
use crate::graph::{Kind, Node, Row, Step};
use crate::memory::Kv;
use crate::models::Model;

/// What an adapter offers that no plan has to be cut down for.
const CAPS: Caps = Caps {
    subgroups: true,
    subgroup_size: 32,
    subgroup_size_fixed: true,
    matrix: None,
    invocations: 1024,
    software: false,
    workgroup_bytes: 48 << 10,
    binding: 2 << 30,
    buffer: 2 << 30,
    storage_buffers: 16,
    policy: Policy::HARDWARE,
};

/// By how many dispatches each block of a model makes the longest chain of them longer, of those that wait for each other; of one row of a
/// short sequence. Needs no adapter: plans are plain data.
pub fn of_blocks(model: &Model, precision: Precision) -> Result<Vec<usize>> {
    let graph = &model.graph;
    let groups = groups::groups(graph);
    let weights = graph.nodes().filter(|(_, e)| matches!(e.kind, Kind::Weight(_)));
    let matrices: Vec<Node> = weights.map(|(node, _)| node).collect();
    let layout = Layout::new(graph, &matrices, &groups::weight_groups(graph, &groups), CAPS.binding)?;
    let (class, in_order, kv) = (RowClass::One, true, Kv::of(precision));
    let context = 4096;
    let planner = Planner { graph, layout: &layout, caps: &CAPS, class, in_order, context, precision, kv };
    let step = first_step();
    let mut launches = plan(&planner, &groups, false);
    launches.retain(|l| l.dispatch.extent.runs(&step));
    let depths = depths(&launches)?;
    let mut ends = vec![0; model.layers];
    let mut before = 0;
    // A launch belongs to its weights' block, which may begin with what is left of the one in front; without a node of its own to what comes behind it.
    let mut block = None;
    for (launch, depth) in launches.iter().zip(depths).rev() {
        let weights = launch.weight.map(|read| layout.matrices[read.matrix].nodes[0]);
        if let Some(node) = weights.or(launch.nodes.last().copied()) {
            block = block_of(&graph.entry(node).label);
        }
        match block {
            Some(block) => ends[block] = depth.max(ends[block]),
            None if launch.dispatch.kernel == "embed" => before = depth.max(before),
            None => {}
        }
    }
    let starts: Vec<usize> = [before].into_iter().chain(ends.iter().copied()).collect();
    Ok(ends.iter().zip(starts).map(|(end, start)| end.saturating_sub(start)).collect())
}

/// A sequence's first row, asked for.
pub fn first_step() -> Step {
    Step { rows: vec![Row { token: 0, slot: 0, position: 0 }], outputs: vec![0] }
}

/// How many launches of a step of one row are beside the longest chain of them: so many need not wait for the one in front.
pub fn beside(launches: &[Launch]) -> Result<usize> {
    let step = first_step();
    let depths = depths(launches.iter().filter(|l| l.dispatch.extent.runs(&step)))?;
    Ok(depths.len() - depths.into_iter().max().unwrap_or(0))
}

/// The number in `blk.3.attn_q`.
fn block_of(label: &str) -> Option<usize> {
    label.strip_prefix("blk.")?.split('.').next()?.parse().ok()
}

/// How many launches one behind the other each is the last of.
fn depths<'a>(launches: impl IntoIterator<Item = &'a Launch>) -> Result<Vec<usize>> {
    // Of each operand the depth of who wrote it last, and of who reads it.
    let mut written: HashMap<Operand, usize> = HashMap::new();
    let mut read: HashMap<Operand, usize> = HashMap::new();
    let mut depths = Vec::new();
    for launch in launches {
        let linked = linked(launch.dispatch.kernel, launch.slots).map_err(Error::Other)?;
        let writes = |binding: u32| linked.bindings.contains(&(0, binding, false));
        let waits = launch.operands.iter().map(|&(binding, operand)| {
            let reads = if writes(binding) { read.get(&operand) } else { None };
            written.get(&operand).max(reads).copied().unwrap_or(0)
        });
        let depth = 1 + waits.max().unwrap_or(0);
        for &(binding, operand) in &launch.operands {
            let of = if writes(binding) { &mut written } else { &mut read };
            let entry = of.entry(operand).or_insert(0);
            *entry = depth.max(*entry);
        }
        depths.push(depth);
    }
    Ok(depths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_reads_nothing_that_was_just_written_is_beside_the_chain() {
        let of = |sums: &[[usize; 3]]| {
            beside(&sums.iter().map(|&sum| Launch::addition(sum)).collect::<Vec<_>>()).unwrap()
        };
        assert_eq!(of(&[[0, 0, 1], [1, 0, 2], [2, 1, 3]]), 0);
        assert_eq!(of(&[[0, 0, 1], [0, 0, 2], [0, 0, 3], [1, 2, 4]]), 2);
        // Whoever writes what others read waits for them.
        assert_eq!(of(&[[0, 0, 1], [1, 1, 2], [0, 0, 1]]), 0);
    }
}
