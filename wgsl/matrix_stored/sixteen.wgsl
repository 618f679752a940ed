// Left factors of 16 × 16 that are multiplied as they lie in the kernel's x.

import package::matrix::Left;

alias Stored = vec4<f16>;

// Rows follow each other `stride` apart; both are counted in vectors of four.
fn load_left_stored(at: u32, stride: u32) -> Left {
    return coopLoadT<Left>(&x[at], stride);
}
