// Rows of one slot follow each other in a step, in the order of their positions: a run. The kernel declares step.

// Whether a row is the first of its run.
fn begins_run(r: u32) -> bool {
    return r == 0u || step[r].y != step[1u + r].y;
}

// The row behind the last of the run that row r is in.
fn run_end(r: u32) -> u32 {
    let slot = step[1u + r].y;
    // Rows up to `low` are of the slot, that at `high` is not.
    var low = r + 1u;
    var high = max(step[0].x, low);
    while (low < high) {
        let middle = (low + high) / 2u;
        if (step[1u + middle].y == slot) {
            low = middle + 1u;
        } else {
            high = middle;
        }
    }
    return low;
}
