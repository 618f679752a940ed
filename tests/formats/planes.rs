//! `repack`: the planes hold the weights of `decode`, where the comments of the WGSL files say that they are. The
//! readers here follow those comments, bit by bit, and share no code with the library.

use libtest_mimic::{Failed, Trial};
use wgllm::formats::{FORMATS, Format};

use crate::blocks::random_blocks;

/// Rows of one or a few blocks; for F32, F16 and BF16 around the edges of a unit.
const COLS: &[usize] = &[1, 3, 4, 5, 7, 8, 9, 172];
const ROWS: usize = 3;

/// One trial for each format.
pub fn trials() -> Vec<Trial> {
    let trial = |format: &'static Format| {
        Trial::test(format!("{}_has_the_same_weights_in_its_planes", format.name), || same_weights(format))
    };
    FORMATS.iter().map(|&format| trial(format)).collect()
}

fn same_weights(format: &Format) -> Result<(), Failed> {
    for cols in COLS.iter().map(|blocks| blocks * format.weights) {
        let tensor = random_blocks(format, ROWS * cols / format.weights, cols as u64);
        let planes = repack(format, &tensor, cols);
        let padded_cols = format.padded_cols(cols);
        for (row, bytes) in tensor.chunks_exact(format.row_bytes(cols)).enumerate() {
            let mut expected = vec![0.0; cols];
            (format.decode)(bytes, &mut expected);
            expected.resize(padded_cols, 0.0);
            for (col, &expected) in expected.iter().enumerate() {
                let found = weight(format, &planes, row, padded_cols, col);
                // Padding may be a zero of either sign.
                if found.to_bits() != expected.to_bits() && (col < cols || found != 0.0) {
                    return Err(format!("[{row}, {col}] of {cols}: {found:e}, expected {expected:e}").into());
                }
            }
        }
    }
    Ok(())
}

/// The planes of a tensor with rows of `cols` weights. They are filled with ones first, so that padding shows.
pub fn repack(format: &Format, tensor: &[u8], cols: usize) -> Vec<Vec<u8>> {
    let rows = tensor.len() / format.row_bytes(cols);
    let bytes: Vec<usize> = format.planes.iter().map(|plane| format.plane_row_bytes(plane, cols)).collect();
    let mut planes: Vec<Vec<u8>> = bytes.iter().map(|bytes| vec![0xff; rows * bytes]).collect();
    for (row, blocks) in tensor.chunks_exact(format.row_bytes(cols)).enumerate() {
        let parts = planes.iter_mut().zip(&bytes);
        let mut parts: Vec<&mut [u8]> = parts.map(|(plane, n)| &mut plane[row * n..][..*n]).collect();
        (format.repack)(blocks, cols, &mut parts);
    }
    planes
}

/// Weight `col` of a row, read from the planes.
fn weight(format: &Format, planes: &[Vec<u8>], row: usize, cols: usize, col: usize) -> f32 {
    let byte = |plane: usize, at: usize| u32::from(planes[plane][at]);
    let half = |plane: usize, at: usize| byte(plane, at) | byte(plane, at + 1) << 8;
    let word = |plane: usize, at: usize| half(plane, at) | half(plane, at + 2) << 16;
    let f16 = |bits: u32| half::f16::from_bits(bits as u16).to_f32();
    let (units, unit, i) = (cols / 64, col / 64, col % 64);
    // A row's 16 bytes that hold the n-th part of the units, `parts` to a unit.
    let vector = |parts: usize, n: usize| (row * parts * units + n * units + unit) * 16;
    // 4 bits: low halves as they are, high halves with the highest bit flipped.
    let nibble = || match byte(0, vector(2, i / 32) + i % 16) {
        byte if i / 16 % 2 == 0 => byte & 15,
        byte => byte >> 4 ^ 8,
    };
    match format.name {
        "F32" => f32::from_bits(word(0, (row * cols + col) * 4)),
        "F16" => f16(half(0, (row * cols + col) * 2)),
        "BF16" => f32::from_bits(half(0, (row * cols + col) * 2) << 16),
        "Q8_0" => {
            let d = f16(half(1, (row * units + unit) * 4 + i / 32 * 2));
            d * (byte(0, vector(4, i / 16) + i % 16) as i8) as f32
        }
        "Q4_0" => f16(half(1, (row * units + unit) * 4 + i / 32 * 2)) * (nibble() as f32 - 8.0),
        "Q4_K" => {
            let header = (row * units + unit) / 4 * 20;
            let steps = header + unit % 4 * 4 + i / 32;
            let (d, dmin) = (f16(half(1, header + 16)), f16(half(1, header + 18)));
            d * byte(1, steps) as f32 * nibble() as f32 - dmin * byte(1, steps + 2) as f32
        }
        "Q6_K" => {
            let header = (row * units + unit) / 4 * 20;
            let scale = byte(2, header + unit % 4 * 4 + i / 16) as i8;
            let pair = byte(1, (row * units + unit) * 16 + i / 16 * 4 + i % 4) >> (i % 16 / 4 * 2) & 3;
            let q = if i / 16 % 2 == 0 { nibble() | pair << 4 } else { nibble() << 2 | pair };
            f32::from_bits(word(2, header + 16)) * f32::from(scale) * (q as f32 - 32.0)
        }
        name => panic!("{name}: add a reader of its planes to {}", file!()),
    }
}
