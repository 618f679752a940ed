//! What a node computes: one file per op with its formula, its shape and its reference, and [`Op`] over all of them.
//! Knows no device: how a GPU is asked for an op is `gpu/kernels/`.

mod add;
mod attend;
mod combine;
mod delta_rule;
mod embed;
mod expert_linear;
mod gate;
mod gated_norm;
mod group_linear;
mod layer_norm;
mod linear;
mod part;
mod rms_norm;
mod rope;
mod route;
mod scale;
mod select;
mod short_conv;
mod softcap;
mod ssd;
mod store;
mod unary;
mod value;

pub use add::Add;
pub use attend::{Attend, AttentionShape, Temperature};
pub use combine::Combine;
pub use delta_rule::DeltaRule;
pub use embed::{Embed, Index};
pub use expert_linear::ExpertLinear;
pub use gate::{Clamp, Gate};
pub use gated_norm::GatedNorm;
pub use group_linear::GroupLinear;
pub use layer_norm::LayerNorm;
pub use linear::Linear;
pub use part::Part;
pub use rms_norm::RmsNorm;
pub use rope::{Pairing, Rope, RopeShape, Yarn};
pub use route::{Route, Scoring, routed};
pub use scale::Scale;
pub use select::Select;
pub use short_conv::ShortConv;
pub use softcap::Softcap;
pub use ssd::Ssd;
pub use store::Store;
pub use unary::{Activation, QUICK_GELU, Unary};
pub use value::{CacheRows, States, Value, WeightRows};

use crate::graph::{Shape, Step};

/// What a node computes from its inputs. Its fields are all that it means: nobody tells ops apart by their names.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// Rows of a table, by token or position.
    Embed(Embed),
    /// Root-mean-square normalisation.
    RmsNorm(RmsNorm),
    /// Normalisation to mean 0 and variance 1.
    LayerNorm(LayerNorm),
    /// A product with a weight matrix.
    Linear(Linear),
    /// Rotary positions.
    Rope(Rope),
    /// Rows written into a cache.
    Store(Store),
    /// Attention to a layer's caches.
    Attend(Attend),
    /// The sum of two activations.
    Add(Add),
    /// A gated feed-forward's middle.
    Gate(Gate),
    /// An activation function.
    Unary(Unary),
    /// A number times an activation.
    Scale(Scale),
    /// A soft bound on the size of numbers.
    Softcap(Softcap),
    /// The choice of experts.
    Route(Route),
    /// Products with the chosen experts.
    ExpertLinear(ExpertLinear),
    /// The weighted sum of what they gave.
    Combine(Combine),
    /// Products of a row's stretches with a matrix each.
    GroupLinear(GroupLinear),
    /// The rows whose logits are asked for.
    Select(Select),
    /// Some numbers of each group of a row.
    Part(Part),
    /// A causal convolution with a state.
    ShortConv(ShortConv),
    /// The gated delta rule.
    DeltaRule(DeltaRule),
    /// The recurrence of Mamba-2.
    Ssd(Ssd),
    /// A norm and a gate.
    GatedNorm(GatedNorm),
}

/// Hands the struct inside an [`Op`] to an expression.
macro_rules! each {
    ($op:expr, $inner:ident => $do:expr) => {
        match $op {
            Op::Embed($inner) => $do,
            Op::RmsNorm($inner) => $do,
            Op::LayerNorm($inner) => $do,
            Op::Linear($inner) => $do,
            Op::Rope($inner) => $do,
            Op::Store($inner) => $do,
            Op::Attend($inner) => $do,
            Op::Add($inner) => $do,
            Op::Gate($inner) => $do,
            Op::Unary($inner) => $do,
            Op::Scale($inner) => $do,
            Op::Softcap($inner) => $do,
            Op::Route($inner) => $do,
            Op::ExpertLinear($inner) => $do,
            Op::Combine($inner) => $do,
            Op::GroupLinear($inner) => $do,
            Op::Select($inner) => $do,
            Op::Part($inner) => $do,
            Op::ShortConv($inner) => $do,
            Op::DeltaRule($inner) => $do,
            Op::Ssd($inner) => $do,
            Op::GatedNorm($inner) => $do,
        }
    };
}

impl Op {
    /// The op's name for people, which is also the stem of its file here.
    pub fn name(&self) -> &'static str {
        match self {
            Op::Embed(_) => "embed",
            Op::RmsNorm(_) => "rms_norm",
            Op::LayerNorm(_) => "layer_norm",
            Op::Linear(_) => "linear",
            Op::Rope(_) => "rope",
            Op::Store(_) => "store",
            Op::Attend(_) => "attend",
            Op::Add(_) => "add",
            Op::Gate(_) => "gate",
            Op::Unary(_) => "unary",
            Op::Scale(_) => "scale",
            Op::Softcap(_) => "softcap",
            Op::Route(_) => "route",
            Op::ExpertLinear(_) => "expert_linear",
            Op::Combine(_) => "combine",
            Op::GroupLinear(_) => "group_linear",
            Op::Select(_) => "select",
            Op::Part(_) => "part",
            Op::ShortConv(_) => "short_conv",
            Op::DeltaRule(_) => "delta_rule",
            Op::Ssd(_) => "ssd",
            Op::GatedNorm(_) => "gated_norm",
        }
    }

    /// The largest NMSE against the reference, Σ(a−b)²/Σa², that f32 arithmetic in another order may give.
    pub fn bound(&self) -> f64 {
        each!(self, op => op.bound())
    }

    /// The shape of the result; panics, beginning with the op's name, when the inputs do not fit together.
    pub fn shape(&self, inputs: &[Shape]) -> Shape {
        each!(self, op => op.shape(inputs))
    }

    /// Computes the result in the plainest way: `out` has the result's shape, row-major.
    pub fn reference(&self, step: &Step, inputs: &[Value<'_>], out: &mut [f32]) {
        each!(self, op => op.reference(step, inputs, out))
    }

    /// Which input is a weight matrix, stored in the blocks of its format. Other weights are vectors of numbers.
    pub fn matrix_input(&self) -> Option<usize> {
        match self {
            Op::Embed(_) => Some(0),
            Op::Linear(_) | Op::ExpertLinear(_) | Op::GroupLinear(_) => Some(1),
            _ => None,
        }
    }
}

macro_rules! from {
    ($($op:ident),*) => {
        $(impl From<$op> for Op {
            fn from(op: $op) -> Op {
                Op::$op(op)
            }
        })*
    };
}

from!(
    Embed,
    RmsNorm,
    LayerNorm,
    Linear,
    Rope,
    Store,
    Attend,
    Add,
    Gate,
    Unary,
    Scale,
    Softcap,
    Select,
    Route,
    ExpertLinear,
    Combine,
    GroupLinear,
    Part,
    ShortConv,
    DeltaRule,
    Ssd,
    GatedNorm
);

/// Panics with the op's name: the graph was built wrongly.
pub(crate) fn must(op: &str, holds: bool, what: &str) {
    assert!(holds, "{op}: {what}");
}
