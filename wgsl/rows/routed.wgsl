// Pairs of gate and up of one expert for each row of y, as in expert.wgsl, where each workgroup chooses the expert by itself, of the router's logits for the
// one row of x: a row of y is for the next largest of them, of equal ones for the first, or for the next largest of scores with biases. What the SHARES chosen, no more than a
// subgroup has lanes, weigh is told in ops/route.rs; one workgroup keeps that for who adds up what experts give.

import package::lib::expert_rows::expert;
import package::lib::order::order_key;
import package::lib::order::order_value;

override ROUTE_SCALE: f32 = 1.0;
override LOGIT_FACTOR: f32 = 1.0;
override SIGMOID: u32 = 0u;       // 0: softmax
override OVER_ALL: u32 = 0u;      // 1: of a softmax the sum over all experts counts, not only over those that are chosen
override NORMALISE: u32 = 1u;     // 1: weights are divided by their sum
override NORM_EPS: f32 = 0.0;     // added to that sum
override ROUTE_BIAS: u32 = 0u;    // 1: what the output has as biases is one for each expert, for the choice alone
override ROUTE_FACTORS: u32 = 0u; // 1: or a factor of each expert's weight
override EARLY: u32 = 0u;         // 1: sums are multiplied by their expert's sigmoid

const MOST: u32 = 16u;            // logits of a lane, at most

@group(0) @binding(4) var<storage, read> logits: array<f32>;       // [EXPERTS]
@group(0) @binding(5) var<storage, read_write> route: array<f32>;  // [SHARES] experts, then their weights

var<workgroup> chosen: u32;
var<private> lane_keys: array<u32, MOST>;
var<private> own_factor: f32;
var<private> largest: f32;        // of LOGIT_FACTOR · logits
var<private> total: f32;          // of all e to the power of those minus the largest

fn score_of(logit: f32) -> f32 {
    if (SIGMOID == 1u) {
        return 1.0 / (1.0 + exp(-LOGIT_FACTOR * logit));
    }
    return exp(LOGIT_FACTOR * logit - largest) / total;
}

// What experts are told from each other by.
fn rank_of(e: u32) -> f32 {
    if (ROUTE_BIAS == 1u) {
        return score_of(logits[e]) + bias[e];
    }
    return logits[e];
}

fn sum_over_all(at: Invocation) {
    var most = logits[0];
    for (var i = 0u; i < MOST; i++) {
        if (i * lanes_of(at) < EXPERTS) {
            most = max(most, logits[min(i * lanes_of(at) + lane_of(at), EXPERTS - 1u)]);
        }
    }
    largest = LOGIT_FACTOR * subgroupMax(most);
    var sum = 0.0;
    for (var i = 0u; i < MOST; i++) {
        let e = i * lanes_of(at) + lane_of(at);
        if (e < EXPERTS) {
            sum += exp(LOGIT_FACTOR * logits[e] - largest);
        }
    }
    total = subgroupAdd(sum);
}

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
    largest = 0.0;
    total = 1.0;
    if (OVER_ALL == 1u) {
        sum_over_all(at);
    }
    for (var i = 0u; i < MOST; i++) {
        let e = i * lanes_of(at) + lane_of(at);
        if (i * lanes_of(at) < EXPERTS) {
            lane_keys[i] = select(0u, order_key(rank_of(min(e, EXPERTS - 1u))), e < EXPERTS);
        }
    }
    // The k-th lane keeps the k-th expert.
    var kept = vec2<u32>();
    for (var k = 0u; k < SHARES; k++) {
        if (k > own && !keeps) {
            break;
        }
        let best = take_best(at);
        if (k == own && lane_of(at) == 0u) {
            chosen = best.x;
        }
        if (OVER_ALL == 0u && k == 0u) {
            largest = LOGIT_FACTOR * order_value(best.y);
        }
        kept = select(kept, best, vec2<bool>(k == lane_of(at)));
    }
    if (keeps) {
        let counts = lane_of(at) < SHARES;
        var logit = order_value(kept.y);
        if (ROUTE_BIAS == 1u) {
            logit = logits[min(kept.x, EXPERTS - 1u)];
        }
        let share = select(0.0, score_of(logit), counts);
        var weight = ROUTE_SCALE * share;
        if (NORMALISE == 1u) {
            weight /= subgroupAdd(share) + NORM_EPS;
        }
        if (ROUTE_FACTORS == 1u) {
            weight *= bias[min(kept.x, EXPERTS - 1u)];
        }
        if (counts) {
            route[lane_of(at)] = f32(kept.x);
            route[SHARES + lane_of(at)] = weight;
        }
    }
}

fn begin_row(r: u32, group: u32, at: Invocation) {
    if (subgroup_of(at) == 0u) {
        choose(r % SHARES, r == 0u && group == 0u, at);
    }
    workgroupBarrier();
    expert = min(chosen, EXPERTS - 1u);
    own_factor = 1.0;
    if (EARLY == 1u) {
        own_factor = ROUTE_SCALE / (1.0 + exp(-LOGIT_FACTOR * logits[expert]));
    }
}

fn row_factor() -> f32 {
    return own_factor;
}
