// Products in f32 of a weight's rows with what the kernel calls x, vectors of four whose rows have COLS numbers.

import package::lib::row::within_row;

// What a unit of a weight's row contributes; x begins at `start`, in vectors.
fn unit_product(row: u32, unit: u32, start: u32) -> f32 {
    let weights = load_unit(row, unit);
    var sum = 0.0;
    for (var four = 0u; four < UNIT / 4u; four++) {
        let c = unit * (UNIT / 4u) + four;
        if (4u * c < COLS) {
            sum += dot(unit_weights(weights, four), within_row(x[start + c], 4u * c));
        }
    }
    return sum;
}
