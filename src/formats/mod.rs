//! How weights are stored: one file per format, and one table of every ggml tensor type.
//!
//! A format says how its blocks decode to f32 (what every test trusts) and how a row is repacked into the planes that
//! the kernels load. Its WGSL twin is `wgsl/formats/<stem>.wgsl`.

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
#[derive(Debug)]
pub struct Format {
    /// ggml's name, as in `Q4_K`.
    pub name: &'static str,
    /// The number that GGUF stores.
    pub id: u32,
    /// Weights in a block.
    pub weights: usize,
    /// Bytes of a block.
    pub bytes: usize,
    /// Decodes whole blocks to f32, exactly.
    pub decode: fn(blocks: &[u8], weights: &mut [f32]),
    /// The stem of the decoder's file in `wgsl/formats/`.
    pub wgsl: &'static str,
    /// Weights that one lane loads at a time on the GPU; rows are padded with zeros to a multiple of it.
    pub unit: usize,
    /// The planes that `repack` writes: bytes of one plane for every `unit` weights... see each format.
    pub planes: &'static [Plane],
    /// Repacks one row of blocks into its part of every plane.
    pub repack: fn(row: &[u8], cols: usize, planes: &mut [&mut [u8]]),
    /// Whether the WGSL side has `unit_dot_i8`.
    pub integer: bool,
}

/// One array of a repacked tensor. Rows follow each other without gaps.
#[derive(Debug, Clone, Copy)]
pub struct Plane {
    /// Weights of a row that share `bytes` bytes of the plane.
    pub weights: usize,
    /// Bytes of the plane for that many weights.
    pub bytes: usize,
}
