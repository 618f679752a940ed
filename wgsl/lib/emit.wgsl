// Hands a row's token on: to the step that runs next, to the ring that the host reads, and to the row's recent tokens.
//
// One invocation per row calls. The kernel declares next, recent, ids, RECENT and RING; src/gpu says what they hold.

const NO_TOKEN: u32 = 0xffffffffu; // what the host finds where every logit is NaN; the next step runs on with token 0

fn emit_token(row: u32, draw: u32, token: u32) {
    // All that is read comes before anything is written, so that it comes at once.
    let rows = next[0].y;
    let position = next[1u + row].z;
    let ring = row * (1u + RECENT);
    let count = recent[ring];
    let fed = select(token, 0u, token == NO_TOKEN);
    next[1u + row].x = fed;
    next[1u + row].z = position + 1u;
    ids[(draw % RING) * rows + row] = token;
    recent[ring + 1u + count % RECENT] = fed;
    recent[ring] = count + 1u;
    if row == 0u { next[0].z = draw + 1u; }
}
