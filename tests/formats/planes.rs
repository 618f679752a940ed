//! `repack` writes all of its planes, the padding included, and nothing else counts than the row. That the planes hold the weights of
//! `decode` is shown where an adapter runs the WGSL decoders: gpu.rs.

use libtest_mimic::{Failed, Trial};
use wgllm::formats::{FORMATS, Format};

use crate::blocks::random_blocks;

/// Rows of one or a few blocks; for F32, F16 and BF16 around the edges of a unit.
const COLS: &[usize] = &[1, 3, 4, 5, 7, 8, 9, 172];
const ROWS: usize = 3;

/// One trial for each format.
pub fn trials() -> Vec<Trial> {
    let trial = |format: &'static Format| {
        Trial::test(format!("{}_repack_writes_every_byte_of_its_planes", format.name), || every_byte(format))
    };
    FORMATS.iter().map(|&format| trial(format)).collect()
}

fn every_byte(format: &Format) -> Result<(), Failed> {
    for cols in COLS.iter().map(|blocks| blocks * format.weights) {
        let tensor = random_blocks(format, ROWS * cols / format.weights, cols as u64);
        let [ones, zeros] = [0xff, 0].map(|fill| repack(format, &tensor, cols, fill));
        if let Some(plane) = (0..ones.len()).find(|&plane| ones[plane] != zeros[plane]) {
            return Err(format!("rows of {cols}: bytes of plane {plane} are not written").into());
        }
        // A row without weights has planes without weights, in which no bit of another row is left.
        let empty = vec![0; tensor.len()];
        if repack(format, &empty, cols, 0xff) == ones {
            return Err(format!("rows of {cols}: the planes do not depend on the weights").into());
        }
    }
    Ok(())
}

/// The planes of a tensor with rows of `cols` weights. They are filled with `fill` first, so that what is not written shows.
pub fn repack(format: &Format, tensor: &[u8], cols: usize, fill: u8) -> Vec<Vec<u8>> {
    let rows = tensor.len() / format.row_bytes(cols);
    let bytes: Vec<usize> = format.planes.iter().map(|plane| format.plane_row_bytes(plane, cols)).collect();
    let mut planes: Vec<Vec<u8>> = bytes.iter().map(|bytes| vec![fill; rows * bytes]).collect();
    for (row, blocks) in tensor.chunks_exact(format.row_bytes(cols)).enumerate() {
        let parts = planes.iter_mut().zip(&bytes);
        let mut parts: Vec<&mut [u8]> = parts.map(|(plane, n)| &mut plane[row * n..][..*n]).collect();
        (format.repack)(blocks, cols, &mut parts);
    }
    planes
}
