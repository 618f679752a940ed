//! What a node computes: one file per op with its formula, its shape, its reference and its plain dispatch.
//! Names no graphics API: a [`Dispatch`] is plain data.

mod add;
mod attend;
mod dispatch;
mod embed;
mod gate;
mod layer_norm;
mod linear;
mod rms_norm;
mod rope;
mod select;
mod store;
mod unary;
mod value;

pub use add::Add;
pub use attend::{Attend, AttentionShape};
pub use dispatch::{Dispatch, Extent, fold};
pub use embed::{Embed, Index};
pub use gate::Gate;
pub use layer_norm::LayerNorm;
pub use linear::Linear;
pub use rms_norm::RmsNorm;
pub use rope::{Pairing, Rope, RopeShape};
pub use select::Select;
pub use store::Store;
pub use unary::{Activation, Unary};
pub use value::{CacheRows, Value, WeightRows};

use std::fmt::Debug;

use crate::graph::{Shape, Step};

/// What a node computes from its inputs, on the CPU in the plainest way, and how a GPU is asked for the same.
pub trait Op: Debug + Send + Sync {
    /// The op's name, which is also the stem of its file here and of its kernel in `wgsl/`.
    fn name(&self) -> &'static str;

    /// The largest NMSE against the reference, Σ(a−b)²/Σa², that f32 arithmetic in another order may give.
    fn bound(&self) -> f64;

    /// The shape of the result; panics, beginning with the op's name, when the inputs do not fit together.
    fn shape(&self, inputs: &[Shape]) -> Shape;

    /// Numbers that a kernel needs, under the names of its `override`s. Names are shared by all kernels that know the op.
    fn constants(&self, inputs: &[Shape]) -> Vec<(&'static str, f64)>;

    /// Numbers for each position below `context` that depend on nothing else, where the op needs such: computed once in f64
    /// and bound to the kernel between the inputs and the result, because a GPU's sine is not exact far from zero.
    fn table(&self, _context: usize, _inputs: &[Value<'_>]) -> Option<Vec<f32>> {
        None
    }

    /// Which input is a weight matrix, read through its format's decoder. Other weights are vectors of f32 to a kernel.
    fn matrix_input(&self) -> Option<usize> {
        None
    }

    /// Which inputs the kernel binds; the others only shape the table.
    fn bound_inputs(&self, inputs: usize) -> std::ops::Range<usize> {
        0..inputs
    }

    /// Computes the result: `out` has the result's shape, row-major.
    fn reference(&self, step: &Step, inputs: &[Value<'_>], out: &mut [f32]);

    /// The dispatch that computes this node alone.
    fn dispatch(&self, inputs: &[Shape], out: Shape) -> Dispatch;
}

/// Panics with the op's name: the graph was built wrongly.
pub(crate) fn must(op: &str, holds: bool, what: &str) {
    assert!(holds, "{op}: {what}");
}
