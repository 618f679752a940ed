// Left factors of 8 × 8 that are multiplied as they lie in the kernel's x, single numbers as Metal wants them.

import package::matrix::Left;

alias Stored = f16;

// Rows follow each other `stride` apart; both are counted in vectors of four.
fn load_left_stored(at: u32, stride: u32) -> Left {
    let place = 4u * at;
    let numbers = 4u * stride;
    return coopLoadT<Left>(&x[place], numbers);
}
