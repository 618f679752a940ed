//! The cases that ops are tested and measured with, as data. Tiles are 32 or 64 wide, subgroups up to 128 invocations: sizes are one
//! below, equal and one above.

use wgllm::formats::{FORMATS, Format};
use wgllm::ops::{AttentionShape, Pairing, RopeShape, Temperature};

/// Rows of a step.
pub const ROWS: &[usize] = &[1, 2, 3, 4, 5, 6, 7, 8, 9, 31, 32, 33, 64, 65, 257];

/// A product with a weight `[n, cols]`.
#[derive(Clone, Copy)]
pub struct Linear {
    /// How the weight is stored.
    pub format: &'static Format,
    /// Its rows.
    pub n: usize,
    /// Its columns.
    pub cols: usize,
    /// Whether a bias is added.
    pub bias: bool,
}

const N: &[usize] = &[1, 3, 32, 33, 65];

/// The columns that weights of a format are tested with.
pub fn cols_of(format: &Format) -> &'static [usize] {
    match format.weights {
        1 => &[4, 12, 33, 36, 172, 256, 288],
        32 => &[32, 64, 96, 256, 288],
        _ => &[256, 512, 768],
    }
}

/// Formats that are tested with every `N`: one for each way of storing weights. What the others differ by is their decoders, which
/// tests/formats holds to golden data.
const THOROUGHLY: &[&str] = &["F32", "F16", "BF16", "Q4_0", "Q8_0", "Q4_K", "Q6_K"];

/// A format of each kind of unit, by which kernels of matrices differ.
pub const UNITS: [&str; 4] = ["F16", "Q8_0", "Q4_K", "Q6_K"];

/// Every format with some `N`, and with each of its columns beside several of them; every second one has a bias.
pub fn linear() -> Vec<Linear> {
    let mut cases = Vec::new();
    for (f, format) in FORMATS.iter().enumerate() {
        let cols = cols_of(format);
        let few = if THOROUGHLY.contains(&format.name) { 1 } else { N.len() };
        // Of the others one each, not always the same.
        for (i, &n) in N.iter().enumerate().skip(if few == 1 { 0 } else { f % N.len() }).step_by(few) {
            cases.push(Linear { format, n, cols: cols[(i + f) % cols.len()], bias: (i + f) % 2 == 1 });
        }
    }
    cases
}

/// The columns of norms.
pub const NORM_COLS: &[usize] = &[1, 2, 3, 31, 32, 33, 255, 256, 257, 1000];

/// The columns of what is computed number by number.
pub const ELEMENT_COLS: &[usize] = &[1, 3, 64, 172, 257];

/// Rotary positions on three heads, with factors or without.
pub fn rope() -> Vec<(RopeShape, bool)> {
    let mut cases = Vec::new();
    for pairing in [Pairing::Neighbours, Pairing::Halves] {
        for (i, (head_dim, rotary)) in
            [(16, 16), (32, 16), (64, 64), (80, 32), (96, 96), (128, 128), (256, 64)].into_iter().enumerate()
        {
            let scale = if i % 3 == 2 { 0.25 } else { 1.0 };
            cases.push((RopeShape { rotary, scale, ..RopeShape::new(head_dim, 1e4, pairing) }, i % 2 == 1));
        }
    }
    cases
}

/// Attention of (query heads, kv heads, length of a head, window): ratios 1, 2, 4, 7.
pub fn attention() -> Vec<AttentionShape> {
    let cases = [
        (3, 3, 16, 0),
        (4, 2, 32, 0),
        (8, 2, 64, 0),
        (7, 1, 80, 0),
        (2, 1, 96, 0),
        (4, 1, 128, 0),
        (2, 2, 256, 0),
        (14, 2, 64, 33),
        (4, 4, 32, 1),
        (2, 1, 64, 64),
    ];
    let shape = |(i, (heads, kv_heads, head_dim, window)): (usize, (usize, usize, usize, u32))| {
        // Some with sharp scores: a softmax of few positions.
        let scale = if i % 4 == 1 { 1.0 } else { 1.0 / (head_dim as f32).sqrt() };
        let softcap = if i % 5 == 4 { 2.0 } else { 0.0 };
        // Some in chunks, of which some end in the middle of a page, and some with scores that grow.
        let chunk = if i % 4 == 2 { [32, 7][i / 4 % 2] } else { 0 };
        let temperature = (i % 3 == 2).then_some(Temperature { scale: 0.3, length: 9, ahead: i as u32 % 2 });
        AttentionShape { heads, kv_heads, head_dim, scale, temperature, window, chunk, softcap }
    };
    cases.into_iter().enumerate().map(shape).collect()
}
