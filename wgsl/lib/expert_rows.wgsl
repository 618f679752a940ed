// Pairs of gate and up of the one expert of a row of y. Experts follow each other, up PAIR_STEP rows behind gate; each row is one stretch.

import package::lib::stretch::Stretch;

override SHARES: u32 = 2u;        // experts that a row of x goes to
override EXPERTS: u32 = 8u;
override EXPERT_ROWS: u32 = 64u;  // rows from an expert to the next

const STRETCHES: u32 = 1u;

var<private> expert: u32;         // whoever begins a row finds it

fn rows_of(p: u32) -> vec2<u32> {
    let row = expert * EXPERT_ROWS + min(p, N / 2u - 1u);
    return FIRST_ROW + vec2<u32>(row, row + PAIR_STEP);
}

fn stretch_of(unit: u32) -> Stretch {
    return Stretch(0u, 0u, unit, 1.0);
}
