// Where a slot's keys and values are in their caches, in fours of numbers; `four` counts those of a position, over all heads.
//
// Values of a position follow each other. Keys are in blocks of 32 positions, whose numbers of one four follow each other: an
// invocation for each position multiplies a whole key, and neighbours read neighbours. src/gpu/cache.rs has the same for the host.

override CONTEXT: u32 = 32u;     // positions of a slot: whole blocks
override KV_FOURS: u32 = 16u;    // fours of a position

const KEY_BLOCK: u32 = 32u;

fn value_index(slot: u32, position: u32, four: u32) -> u32 {
    return (slot * CONTEXT + position) * KV_FOURS + four;
}

fn key_index(slot: u32, position: u32, four: u32) -> u32 {
    let block = (slot * CONTEXT + position) / KEY_BLOCK;
    return (block * KV_FOURS + four) * KEY_BLOCK + position % KEY_BLOCK;
}
