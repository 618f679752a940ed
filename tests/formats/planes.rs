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
                let unit = row * (padded_cols / format.unit) + col / format.unit;
                let found = weight(format, &planes, unit, col % format.unit);
                if found.to_bits() != expected.to_bits() {
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

/// Weight `i` of a unit, read from the planes.
fn weight(format: &Format, planes: &[Vec<u8>], unit: usize, i: usize) -> f32 {
    let byte = |plane: usize, at: usize| u32::from(planes[plane][at]);
    let half = |plane: usize, at: usize| byte(plane, at) | byte(plane, at + 1) << 8;
    let word = |plane: usize, at: usize| half(plane, at) | half(plane, at + 2) << 16;
    let f16 = |bits: u32| half::f16::from_bits(bits as u16).to_f32();
    let nibble = |bytes: usize| byte(0, bytes + i % 16) >> (4 * (i / 16)) & 15;
    match format.name {
        "F32" => f32::from_bits(word(0, unit * 16 + i * 4)),
        "F16" => f16(half(0, unit * 16 + i * 2)),
        "BF16" => f32::from_bits(half(0, unit * 16 + i * 2) << 16),
        "Q8_0" => f16(half(1, unit * 2)) * (byte(0, unit * 32 + i) as i8) as f32,
        "Q4_0" => f16(half(1, unit * 2)) * (nibble(unit * 16) as f32 - 8.0),
        "Q4_K" => {
            let (header, s) = (unit / 8 * 16, unit % 8);
            let [d, low_scales, low_minimums, high] = [0, 4, 8, 12].map(|at| word(1, header + at));
            let scale = low_scales >> (4 * s) & 15 | (high >> (2 * s) & 3) << 4;
            let minimum = low_minimums >> (4 * s) & 15 | (high >> (16 + 2 * s) & 3) << 4;
            f16(d & 0xffff) * scale as f32 * nibble(unit * 16) as f32 - f16(d >> 16) * minimum as f32
        }
        "Q6_K" => {
            let scales = unit / 8 * 20;
            let scale = byte(2, scales + unit % 8 * 2 + i / 16) as i8;
            let high = byte(1, unit * 8 + i / 16 * 4 + i % 4) >> (i % 16 / 4 * 2) & 3;
            let q = (nibble(unit * 16) | high << 4) as f32 - 32.0;
            f32::from_bits(word(2, scales + 16)) * f32::from(scale) * q
        }
        name => panic!("{name}: add a reader of its planes to {}", file!()),
    }
}
