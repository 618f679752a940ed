// How rows in f16 lie that are multiplied from where they are (wgsl/halves.wgsl): 16 rows together, matrix after matrix of 16 × 16 numbers, so that a matrix is read in one piece; behind
// them the scales of the 16, each with three words of nothing. `stride` is the words of a row, scale included.

// Numbers 4·four to 4·four + 3 of row r, in vectors of four.
fn halves_four(r: u32, four: u32, stride: u32) -> u32 {
    return r / 16u * (8u * stride) + four / 4u * 64u + r % 16u * 4u + four % 4u;
}

// The scale of row r, in words.
fn halves_scale(r: u32, stride: u32) -> u32 {
    return r / 16u * (16u * stride) + (COLS + 63u) / 64u * 512u + r % 16u * 4u;
}
