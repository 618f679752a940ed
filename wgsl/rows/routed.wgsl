// Pairs of gate and up of one expert for each row of y, as in expert.wgsl, where each workgroup chooses the expert by itself, of the router's logits for the
// one row of x: a row of y is for the next largest of them, of equal ones for the first. What the SHARES largest, no more than a subgroup has lanes, weigh is their softmax times
// ROUTE_SCALE; one workgroup keeps that for who adds up what experts give.

import package::lib::expert_rows::expert;
import package::lib::order::order_key;
import package::lib::order::order_value;

override ROUTE_SCALE: f32 = 1.0;

const MOST: u32 = 16u;            // logits of a lane, at most

@group(0) @binding(4) var<storage, read> logits: array<f32>;       // [EXPERTS]
@group(0) @binding(5) var<storage, read_write> route: array<f32>;  // [SHARES] experts, then their weights

var<workgroup> chosen: u32;
var<private> lane_keys: array<u32, MOST>;

// The best of the experts that are left, and its key; it is left no more.
fn take_best(at: Invocation) -> vec2<u32> {
    var best = 0u;
    for (var i = 0u; i < MOST; i++) {
        if (i * lanes_of(at) < EXPERTS) {
            best = max(best, lane_keys[i]);
        }
    }
    let most = subgroupMax(best);
    var first = EXPERTS - 1u;
    for (var i = 0u; i < MOST; i++) {
        if (i * lanes_of(at) < EXPERTS && lane_keys[i] == most) {
            first = min(first, i * lanes_of(at) + lane_of(at));
        }
    }
    let place = subgroupMin(first);
    for (var i = 0u; i < MOST; i++) {
        if (i * lanes_of(at) + lane_of(at) == place) {
            lane_keys[i] = 0u;
        }
    }
    return vec2<u32>(place, most);
}

// What one subgroup does, and all others wait for: each by itself they would take each other's time.
fn choose(own: u32, keeps: bool, at: Invocation) {
    for (var i = 0u; i < MOST; i++) {
        let e = i * lanes_of(at) + lane_of(at);
        if (i * lanes_of(at) < EXPERTS) {
            lane_keys[i] = select(0u, order_key(logits[min(e, EXPERTS - 1u)]), e < EXPERTS);
        }
    }
    // The k-th lane keeps the k-th expert.
    var largest = 0.0;
    var kept = vec2<u32>();
    for (var k = 0u; k < SHARES; k++) {
        if (k > own && !keeps) {
            break;
        }
        let best = take_best(at);
        if (k == own && lane_of(at) == 0u) {
            chosen = best.x;
        }
        largest = select(largest, order_value(best.y), k == 0u);
        kept = select(kept, best, vec2<bool>(k == lane_of(at)));
    }
    if (keeps) {
        let counts = lane_of(at) < SHARES;
        let share = select(0.0, exp(order_value(kept.y) - largest), counts);
        let sum = subgroupAdd(share);
        if (counts) {
            route[lane_of(at)] = f32(kept.x);
            route[SHARES + lane_of(at)] = ROUTE_SCALE * share / sum;
        }
    }
}

fn begin_row(r: u32, group: u32, at: Invocation) {
    if (subgroup_of(at) == 0u) {
        choose(r % SHARES, r == 0u && group == 0u, at);
    }
    workgroupBarrier();
    expert = min(chosen, EXPERTS - 1u);
}

fn row_factor() -> f32 {
    return 1.0;
}
