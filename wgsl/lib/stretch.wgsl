// Where a unit of a matvec's row is.

struct Stretch {
    row: u32,      // rows of w in front of the pair's
    x_row: u32,    // rows of x in front of the first
    unit: u32,     // the unit there
    factor: f32,   // what its product counts
}
