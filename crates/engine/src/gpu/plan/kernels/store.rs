//! `wgsl/store.wgsl`: rows into a cache, in fours.

use crate::gpu::memory::kv_layout;
use crate::gpu::plan::dispatch::{Dispatch, Extent};
use crate::gpu::plan::kernels::single;
use crate::gpu::plan::{Launch, Operand, Planner};
use crate::graph::Node;

/// Fours of a workgroup.
const TILE: u32 = 64;

/// The dispatch of a store. It has no result to bind: the cache is what it writes.
pub fn launch(s: &Planner<'_>, node: Node) -> Launch {
    let &[x, cache] = s.inputs(node) else { panic!("a store has two inputs") };
    let shape = s.graph.shape(x);
    let keys = kv_layout::holds_keys(s.graph, cache);
    let head_dim = s.graph.cache_of(cache).map_or(shape.cols, |cache| cache.head_dim);
    let mut constants = vec![
        ("FOURS", head_dim as f64 / 4.0),
        ("STRIDE", shape.stride() as f64),
        ("KEYS", keys as u32 as f64),
    ];
    constants.extend(kv_layout::constants(s.graph, s.kv, cache));
    let extent = Extent::Elements { rows: shape.rows, cols: shape.cols as u32 / 4, tile: TILE };
    let dispatch = Dispatch { kernel: "store", constants, extent };
    let mut launch = single(s, node, dispatch, &[Operand::Step, Operand::Value(x)]);
    let (written, other) = (Operand::Cache(cache), Operand::Unwritten(node));
    let [keys, values] = if keys { [written, other] } else { [other, written] };
    launch.operands.extend([(4, keys), (5, values), (8, Operand::Pages)]);
    launch
}
