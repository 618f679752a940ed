/// How a backend may compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Precision {
    /// The kernels that the adapter does best with: an f16 KV cache, int8 dot products; each held to a bound.
    #[default]
    Fast,
    /// f32 arithmetic and an f32 KV cache: what golden logits are compared with.
    F32,
}
