// Hands an output's token on: to the step that runs next, to its slot's last and recent tokens, and to the ids that the host reads.
//
// One invocation per output calls. The kernel declares step, recent, ids and last; crates/engine/src/gpu/run/sampler.rs says what they hold.

const NO_TOKEN: u32 = 0xffffffffu; // what the host finds where every logit is NaN; the next step runs on with token 0
const STEPS: u32 = 32u;            // steps of a submission, whose stamps begin at a multiple of this

fn emit_token(output: u32, stamp: u32, token: u32) {
    // All that is read comes before anything is written, so that it comes at once.
    let outputs = step[0].y;
    let r = step[1u + output].w;
    let slot = step[1u + r].y;
    let position = step[1u + r].z;
    let capacity = recent[0];
    let ring = 1u + slot * (1u + capacity);
    let count = recent[ring];
    let fed = select(token, 0u, token == NO_TOKEN);
    step[1u + r].x = fed;
    step[1u + r].z = position + 1u;
    ids[(stamp % STEPS) * outputs + output] = token;
    last[slot] = fed;
    recent[ring + 1u + count % capacity] = fed;
    recent[ring] = count + 1u;
    if output == 0u { step[0].z = stamp + 1u; }
}
