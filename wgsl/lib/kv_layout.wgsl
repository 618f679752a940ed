// Where keys and values are in their caches, in fours of numbers; `four` counts those of a position, over all heads.
//
// Positions come in pages, which a slot has in the order of its table; src/gpu/kv_layout.rs has the same for the host. Values of a
// position follow each other. The keys of a page are a block whose numbers of one four follow each other: an invocation for each position
// multiplies a whole key, and neighbours read neighbours. The kernel declares step.

override KV_FOURS: u32 = 16u;    // fours of a position

const PAGE: u32 = 32u;           // positions of a page

@group(0) @binding(8) var<storage, read> pages: array<u32>;    // [slots, table]

// The page of a slot's position. A step that says 0 for the length of tables has one slot, whose pages lie in order.
fn page_of(slot: u32, position: u32) -> u32 {
    let table = step[0].w;
    if (table == 0u) {
        return position / PAGE;
    }
    return pages[slot * table + position / PAGE];
}

fn value_index(page: u32, position: u32, four: u32) -> u32 {
    return (page * PAGE + position % PAGE) * KV_FOURS + four;
}

fn key_index(page: u32, position: u32, four: u32) -> u32 {
    return (page * KV_FOURS + four) * PAGE + position % PAGE;
}
