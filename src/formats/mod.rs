//! How weights are stored: one file per format, and one table of every ggml tensor type.
//!
//! A format says how its blocks decode to f32 (what every test trusts), how a row of them is multiplied with f32, and how
//! it is repacked into the planes that the kernels load. Its WGSL copy is `wgsl/formats/<stem>.wgsl`. Which tensor has
//! which format is the GGUF file's affair, and which buffers hold the planes is the GPU's.
//!
//! To add a format, write `x.rs` beside this file and `wgsl/formats/x.wgsl`, and add its row to [`FORMATS`].

mod bf16;
mod f16;
// Called `mod f32`, it would hide the primitive type.
#[path = "f32.rs"]
mod f32_;
mod q4_0;
mod q4_k;
mod q6_k;
mod q8_0;
mod row;
mod types;

pub use f32_::dot;
pub use types::{TENSOR_TYPES, removed_type, tensor_type};

/// The formats that this engine computes with.
pub const FORMATS: &[&Format] =
    &[&f32_::F32, &f16::F16, &bf16::BF16, &q4_0::Q4_0, &q8_0::Q8_0, &q4_k::Q4_K, &q6_k::Q6_K];

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
    /// Σ w·x over a row of whole blocks, in f32: the weights of `decode` in whatever order of summation is fast. Panics
    /// unless `row` and `x` are equally long.
    pub dot: fn(row: &[u8], x: &[f32]) -> f32,
    /// The stem of the decoder's file in `wgsl/formats/`.
    pub wgsl: &'static str,
    /// Weights in a unit. Where a format has blocks, a block is whole units or a unit is two blocks.
    pub unit: usize,
    /// The planes that `repack` writes, in the order of the bindings in the WGSL file; three at most.
    pub planes: &'static [Plane],
    /// Repacks one row (`cols` weights, [`Format::row_bytes`] bytes) into its part of every plane
    /// ([`Format::plane_row_bytes`] bytes each), padding included. Panics where the lengths are others.
    pub repack: fn(row: &[u8], cols: usize, planes: &mut [&mut [u8]]),
    /// Whether the WGSL side has `unit_dot_i8`.
    pub integer: bool,
}

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

/// Each block of `BYTES` bytes with the `WEIGHTS` weights that it decodes to.
fn each_block<'a, const BYTES: usize, const WEIGHTS: usize>(
    blocks: &'a [u8],
    weights: &'a mut [f32],
) -> impl Iterator<Item = (&'a [u8; BYTES], &'a mut [f32; WEIGHTS])> {
    let ((blocks, odd_bytes), (weights, odd_weights)) = (blocks.as_chunks(), weights.as_chunks_mut());
    let whole = odd_bytes.is_empty() && odd_weights.is_empty() && blocks.len() == weights.len();
    assert!(
        whole,
        "decode: {} blocks of {BYTES} bytes for {} of {WEIGHTS} weights",
        blocks.len(),
        weights.len()
    );
    blocks.iter().zip(weights)
}

/// A row's blocks of `BYTES` bytes.
fn row_blocks<const BYTES: usize>(row: &[u8]) -> &[[u8; BYTES]] {
    let (blocks, odd_bytes) = row.as_chunks();
    assert!(odd_bytes.is_empty(), "repack: a row of {} bytes is not whole blocks of {BYTES}", row.len());
    blocks
}

/// A row's part of a plane, as one array of `BYTES` bytes for each of `count` blocks or units.
fn plane_row<const BYTES: usize>(plane: &mut [u8], count: usize) -> &mut [[u8; BYTES]] {
    assert!(plane.len() == count * BYTES, "repack: {} bytes of plane for {count} × {BYTES}", plane.len());
    plane.as_chunks_mut().0
}

/// Copies a row that the GPU reads as it is, and pads it with zeros to the plane's end.
fn copy_row(row: &[u8], plane: &mut [u8]) {
    let (copied, padding) = plane.split_at_mut(row.len());
    copied.copy_from_slice(row);
    padding.fill(0);
}

/// The f16 in two little-endian bytes, as f32.
fn f16_at(bytes: &[u8], at: usize) -> f32 {
    half::f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32()
}

/// Packs 32 values of 4 bits as Q4_0 does: byte j holds value j in its low half and value j + 16 in its high half.
fn pack_nibbles(values: &[u8; 32]) -> [u8; 16] {
    std::array::from_fn(|j| values[j] & 15 | values[j + 16] << 4)
}

/// Makes the high half q of each byte q − 8 in two's complement: the byte without its low half is then 16 · (q − 8) as an
/// int8, which an integer dot product takes as it is, without a shift.
fn sign_high_halves(bytes: &mut [u8; 16]) {
    for byte in bytes {
        *byte ^= 0x80;
    }
}
