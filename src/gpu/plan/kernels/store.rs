//! `wgsl/store.wgsl`: rows into a cache, in vectors of four.

use crate::gpu::memory::kv_layout;
use crate::gpu::plan::dispatch::{Dispatch, Extent};
use crate::gpu::plan::kernels::single;
use crate::gpu::plan::{Launch, Operand, Planner};
use crate::graph::Node;

/// Vectors of a workgroup.
const TILE: u32 = 64;

/// The dispatch of a store. It has no result to bind: the cache is what it writes.
pub fn launch(s: &Planner<'_>, node: Node) -> Launch {
    let &[x, cache] = s.inputs(node) else { panic!("a store has two inputs") };
    let shape = s.graph.shape(x);
    let mut constants = vec![
        ("COLS", shape.cols as f64),
        ("STRIDE", shape.stride() as f64),
        ("KEYS", kv_layout::holds_keys(s.graph, cache) as u32 as f64),
    ];
    constants.extend(kv_layout::constants(s.graph, cache));
    let extent = Extent::Elements { rows: shape.rows, cols: shape.cols as u32 / 4, tile: TILE };
    let dispatch = Dispatch { kernel: "store", constants, extent };
    let mut launch = single(s, node, dispatch, &[Operand::Step, Operand::Value(x), Operand::Cache(cache)]);
    launch.operands.push((8, Operand::Pages));
    launch
}
