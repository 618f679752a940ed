// Left factors that are multiplied as they lie in the kernel's x, for what stands in for matrix units.

import package::matrix::Left;

alias Stored = vec2<u32>;

fn stored_four(at: u32) -> vec4<f32> {
    return vec4<f32>(unpack2x16float(x[at].x), unpack2x16float(x[at].y));
}

// Rows follow each other `stride` apart; both are counted in vectors of four.
fn load_left_stored(at: u32, stride: u32) -> Left {
    let row = at + matrix_lane / 2u * stride;
    return Left(stored_four(row), stored_four(row + 1u), stored_four(row + 2u), stored_four(row + 3u));
}
