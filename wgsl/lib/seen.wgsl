// Which positions a row sees.

override WINDOW: u32 = 0u;    // positions that it sees at most, its own included; 0: all
override CHUNK: u32 = 0u;     // positions of a chunk, of which it sees its own alone; 0: there are no chunks

// The first that a row at position `end` − 1 sees.
fn first_seen(end: u32) -> u32 {
    let of_window = select(end - min(end, WINDOW), 0u, WINDOW == 0u);
    let last = max(end, 1u) - 1u;
    return max(of_window, select(last - last % max(CHUNK, 1u), 0u, CHUNK == 0u));
}
