//! One graph on two backends, node by node. (Being written: only what the command line calls is here.)

use crate::engine::Options;
use crate::error::Result;

/// What `check` found of one node.
#[derive(Clone, Debug, serde::Serialize)]
pub struct NodeReport {
    /// The node's label.
    pub node: String,
    /// Rows and columns of its value.
    pub shape: [usize; 2],
    /// The kernel that computed it.
    pub kernel: String,
    /// Which step it was in: `prefill` or `decode N`.
    pub step: String,
    /// Σ(a−b)²/Σa² against the reference; none for values that a fused kernel does not keep.
    pub nmse: Option<f64>,
    /// What is allowed.
    pub bound: f64,
    /// Whether it agrees.
    pub pass: bool,
    /// Row and column of the largest difference, the reference's value there and the other's.
    pub worst: Option<([usize; 2], f32, f32)>,
}

/// What `check` found.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Report {
    /// What was held to the reference.
    pub device: crate::backend::DeviceInfo,
    /// All nodes of all steps, in order.
    pub nodes: Vec<NodeReport>,
}

impl Report {
    /// How many nodes do not agree.
    pub fn failed(&self) -> usize {
        self.nodes.iter().filter(|n| !n.pass).count()
    }
}

/// Runs `ids` as one prefill step and `decode` single-row steps on the CPU and on the device that `options` choose.
pub fn check(_file: crate::gguf::Gguf, _options: &Options, _ids: &[u32], _decode: usize) -> Result<Report> {
    Err(crate::error::Error::Other("check is being written".into()))
}
