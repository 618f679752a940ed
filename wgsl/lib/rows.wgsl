// How many rows a value has: one for each row of the step, or for each output row.

override OUTPUT_ROWS: u32 = 0u;

fn rows_of(head: vec4<u32>) -> u32 {
    return select(head.x, head.y, OUTPUT_ROWS == 1u);
}
