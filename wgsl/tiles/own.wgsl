// Tiles of rows as they follow each other, all of one matrix.

const SPARSE: bool = false;   // whether there may be tiles without rows

// The rows of a tile: the first, and the one behind the last of all.
struct Tile {
    first: u32,
    end: u32,
}

fn tile_count(rows: u32, size: u32) -> u32 {
    return max((rows + size - 1u) / size, 1u);
}

fn tile_of(tile: u32, size: u32, local: u32) -> Tile {
    return Tile(tile * size, step[0].x);
}

// Rows of w in front of those of the tile.
fn tile_weights() -> u32 {
    return 0u;
}

// From a row of a gate to that of its factor.
fn second_step() -> u32 {
    return N / 2u;
}

// The row of x behind row r, and of y.
fn x_row(r: u32) -> u32 {
    return r;
}

fn y_row(r: u32) -> u32 {
    return r;
}

// Looks up the row that an invocation reads as its i-th.
fn hold_row(i: u32, r: u32) {
}

fn held_row(i: u32, r: u32) -> u32 {
    return r;
}
