// Where keys and values are in their caches; crates/engine/src/gpu/memory/kv_layout.rs has the same for the host.
//
// Positions come in pages, which a slot has in the order of its table. A page has `units` units of each position. Those of values follow
// each other. The keys of a page are a block in which the same unit of all positions follow each other: an invocation for each position
// multiplies a whole key, and neighbours read neighbours. Formats (cache/) say what a unit is. The kernel declares step.

override KV_FOURS: u32 = 16u;    // numbers of a position, over all heads, in fours

const PAGE: u32 = 32u;           // positions of a page
const KEY_STEP: u32 = PAGE;      // from a unit of a position to the next
const VALUE_STEP: u32 = 1u;

@group(0) @binding(8) var<storage, read> pages: array<u32>;    // [slots, table]

// The page of a slot's position. A step that says 0 for the length of tables has one slot, whose pages lie in order.
fn page_of(slot: u32, position: u32) -> u32 {
    let table = step[0].w;
    if (table == 0u) {
        return position / PAGE;
    }
    return pages[slot * table + position / PAGE];
}

// A unit of a position, in the page that begins at `start`.
fn value_index(start: u32, units: u32, position: u32, unit: u32) -> u32 {
    return start + position % PAGE * units + unit;
}

fn key_index(start: u32, units: u32, position: u32, unit: u32) -> u32 {
    return start + unit * PAGE + position % PAGE;
}
