// What becomes of queries, keys and values behind their projection: norms of heads, rotary positions, and where values come from.

override ROTARY: u32 = 0u;          // numbers of a head that turn
override PAIR_STEP: u32 = 1u;       // from the first number of a pair to the second: 1, or half of ROTARY
override NORM: u32 = 0u;            // 1: queries and keys are normalised before they turn, 2: afterwards
override WHOLE: u32 = 0u;           // 1: all heads of a row have one norm, and a weight as long as they are; only where NORM is 1
override WEIGHTED: u32 = 1u;        // 0: these norms have no weights
override VALUE_NORM: u32 = 0u;      // 1: values are normalised, too, without a weight; only where NORM is 1
override SHARED: u32 = 0u;          // 1: values are made of what keys are made of
override VALUES: u32 = 1u;          // 0: values are in their cache already
override OWN: u32 = 1u;             // 0: there are queries alone, and keys and values of an earlier layer, the row's too
override EPS: f32 = 1e-5;

// The number that the i-th one of a head turns with, and by which of a position's (cos, sin).
fn turned_with(i: u32) -> u32 {
    if (i >= ROTARY) {
        return i;
    }
    return i + PAIR_STEP - 2u * (i / PAIR_STEP % 2u) * PAIR_STEP;
}

fn turn_of(i: u32) -> u32 {
    return i / (2u * PAIR_STEP) * PAIR_STEP + i % PAIR_STEP;
}
