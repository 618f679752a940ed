// Rows of a matrix, which are whole units.
//
// What pads a row of x up to its stride may be anything, infinities and NaNs too, which a weight of zero does not make zero.

// Units of a row of COLS weights.
fn row_units() -> u32 {
    return (COLS + UNIT - 1u) / UNIT;
}

// `v`, columns c to c + 3 of a row of COLS that is read in whole units, without what lies past the row's end.
fn within_row(v: vec4<f32>, c: u32) -> vec4<f32> {
    if (COLS % UNIT == 0u) {
        return v; // known when the pipeline is made: no unit passes the end
    }
    return select(vec4<f32>(), v, vec4(c, c + 1u, c + 2u, c + 3u) < vec4(COLS));
}
