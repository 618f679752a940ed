//! How weights are stored: one file per format, and one table of every ggml tensor type.
//!
//! A format says once how its blocks are read (`block.rs` makes `decode`, which every test trusts, and `dot` of that), and how a
//! row is repacked into the planes that the kernels load. Its WGSL side is `wgsl/formats/<stem>.wgsl`. Which tensor has which
//! format is the GGUF file's affair, and which buffers hold the planes is the GPU's.
//!
//! To add a format, write `x.rs` beside this file and `wgsl/formats/x.wgsl`, and add its row to [`FORMATS`].

mod bf16;
mod block;
mod bytes;
mod encode;
mod f16;
// Called `mod f32`, it would hide the primitive type.
#[path = "f32.rs"]
mod f32_;
mod grids;
mod int8;
mod iq1_m;
mod iq1_s;
mod iq2_s;
mod iq2_xs;
mod iq2_xxs;
mod iq3_s;
mod iq3_xxs;
mod iq4_nl;
mod iq4_xs;
mod mxfp4;
mod nvfp4;
mod planes;
mod q2_k;
mod q3_k;
mod q4_0;
mod q4_1;
mod q4_k;
mod q5_0;
mod q5_1;
mod q5_k;
mod q6_k;
mod q8_0;
mod tq1_0;
mod tq2_0;
mod types;

pub use block::{GROUP, Group, Groups};
pub use int8::{ByteDot, ByteGroup, ByteProducts, ByteRow};
pub use types::{F32, TENSOR_TYPES, removed_type, tensor_type};

/// The formats that this engine computes with.
pub const FORMATS: &[&Format] = &[
    &f32_::F32,
    &f16::F16,
    &bf16::BF16,
    &q4_0::Q4_0,
    &q4_1::Q4_1,
    &q5_0::Q5_0,
    &q5_1::Q5_1,
    &q8_0::Q8_0,
    &q2_k::Q2_K,
    &q3_k::Q3_K,
    &q4_k::Q4_K,
    &q5_k::Q5_K,
    &q6_k::Q6_K,
    &iq1_s::IQ1_S,
    &iq1_m::IQ1_M,
    &iq2_xxs::IQ2_XXS,
    &iq2_xs::IQ2_XS,
    &iq2_s::IQ2_S,
    &iq3_xxs::IQ3_XXS,
    &iq3_s::IQ3_S,
    &iq4_nl::IQ4_NL,
    &iq4_xs::IQ4_XS,
    &mxfp4::MXFP4,
    &nvfp4::NVFP4,
    &tq1_0::TQ1_0,
    &tq2_0::TQ2_0,
];

/// The format that GGUF stores as the number `id`, if this engine computes with it.
pub fn by_id(id: u32) -> Option<&'static Format> {
    FORMATS.iter().copied().find(|format| format.id == id)
}

/// A tensor type of ggml: its id in the file, its name, and the size of its blocks.
#[derive(Debug)]
pub struct TensorType {
    /// The number that GGUF stores.
    pub id: u32,
    /// ggml's name, as in `Q4_K`.
    pub name: &'static str,
    /// Weights in a block.
    pub weights: usize,
    /// Bytes of a block.
    pub bytes: usize,
}

/// A tensor type that this engine computes with.
///
/// On the GPU a row is a list of *units*: a unit is what one lane multiplies at a time. Each row is padded with zeros to
/// whole units. Where a unit is several vectors of 16 bytes, a row has the first ones of all its units, then the second
/// ones and so on, so that lanes that load neighbouring units load neighbouring memory.
#[derive(Debug)]
pub struct Format {
    /// ggml's name, as in `Q4_K`.
    pub name: &'static str,
    /// The number that GGUF stores.
    pub id: u32,
    /// Weights in a block. A row in the file is whole blocks.
    pub weights: usize,
    /// Bytes of a block.
    pub bytes: usize,
    /// Decodes whole blocks to f32, exactly. Panics unless `blocks` and `weights` are equally many blocks.
    pub decode: fn(blocks: &[u8], weights: &mut [f32]),
    /// Encodes finite weights to whole blocks, as ggml's reference does, where models are made in this format. Panics unless `weights` and
    /// `blocks` are equally many blocks.
    pub encode: Option<Encode>,
    /// The same weights as small integers with scales, where the format has such.
    pub groups: Option<Groups>,
    /// Σ w·x over a row of whole blocks, in f32: the weights of `decode` in whatever order of summation is fast. Panics
    /// unless `row` and `x` are equally long.
    pub dot: fn(row: &[u8], x: &[f32]) -> f32,
    /// The stem of the decoder's file in `wgsl/formats/`.
    pub wgsl: &'static str,
    /// Weights in a unit. Where a format has blocks, a block is whole units or a unit is two blocks.
    pub unit: usize,
    /// The planes that `repack` writes, in the order of the bindings in the WGSL file; with the grid three at most.
    pub planes: &'static [Plane],
    /// What all weights of the format look up, bound behind the planes; the same for every tensor.
    pub grid: Option<fn() -> &'static [u8]>,
    /// Repacks one row (`cols` weights, [`Format::row_bytes`] bytes) into its part of every plane
    /// ([`Format::plane_row_bytes`] bytes each), padding included. Panics where the lengths are others.
    pub repack: fn(row: &[u8], cols: usize, planes: &mut [&mut [u8]]),
    /// Whether the WGSL side has `unit_dot_i8`.
    pub integer: bool,
}

/// Encodes weights to whole blocks; see [`Format::encode`].
pub type Encode = fn(weights: &[f32], blocks: &mut [u8]);

/// One array of a repacked tensor. Rows follow each other without gaps.
#[derive(Debug, Clone, Copy)]
pub struct Plane {
    /// Weights of a row that share `bytes` bytes of the plane: those of one unit, or of several.
    pub weights: usize,
    /// Bytes of the plane for that many weights.
    pub bytes: usize,
}

impl Format {
    /// Bytes of a row of `cols` weights in the file. `cols` is whole blocks.
    pub fn row_bytes(&self, cols: usize) -> usize {
        cols / self.weights * self.bytes
    }

    /// Weights of a row of `cols` weights on the GPU: the next multiple of the unit.
    pub fn padded_cols(&self, cols: usize) -> usize {
        cols.next_multiple_of(self.unit)
    }

    /// Bytes that a row of `cols` weights takes in `plane`. A row need not end on a whole u32, so the last row's end
    /// may have to be padded to one.
    pub fn plane_row_bytes(&self, plane: &Plane, cols: usize) -> usize {
        self.padded_cols(cols) / plane.weights * plane.bytes
    }
}
