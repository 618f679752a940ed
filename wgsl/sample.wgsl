// token[output] = argmax over the tokens kept of logit / temperature + noise(seed, position, token)
//
// One workgroup per row; crates/engine/src/sampler.rs is the reference and says what is kept. Most tokens are out of the running by what
// sample_part.wgsl found of each part of the row. Where no more than CANDIDATES are left, each is compared with each in workgroup
// memory; otherwise the thresholds are found by passes over the row, two bits of the key each. Sums have a fixed order.
import package::lib::emit::emit_token;
import package::lib::noise::gumbel;
import package::lib::order::order_key;
import package::lib::order::order_value;
import package::lib::reduce::workgroup_max_u32;
import package::lib::reduce::workgroup_sum_f32;
import package::lib::reduce::workgroup_sum_u32;
import package::lib::sampling::Sampling;
import package::lib::scan::workgroup_scan_all;
import package::lib::scan::workgroup_scan_u32;

override VOCAB: u32 = 128256u;
override VOCAB_STRIDE: u32 = 128256u;
override PART: u32 = 256u;   // logits of a part
override PARTS: u32 = (VOCAB + PART - 1u) / PART; // 1,024 at most, or workgroup memory overflows
override WORKGROUP: u32 = 256u;
const CANDIDATES: u32 = 512u;
const LEAST_TEMPERATURE: f32 = 1e-6; // below it the most likely token is taken

@group(0) @binding(0) var<storage, read> logits: array<f32>;           // [rows, VOCAB_STRIDE]
@group(0) @binding(1) var<storage, read> parts: array<vec2<u32>>;      // [rows, 1 + PARTS]
@group(0) @binding(2) var<storage, read> sampling: array<Sampling>;    // [slots]
@group(0) @binding(3) var<storage, read_write> step: array<vec4<u32>>; // (rows, outputs, stamp, table), then a row each
@group(0) @binding(4) var<storage, read_write> recent: array<u32>;     // capacity, then [slots, 1 + capacity]: count and a ring of tokens
@group(0) @binding(5) var<storage, read_write> ids: array<u32>;        // [steps, outputs]
@group(0) @binding(6) var<storage, read_write> last: array<u32>;       // [slots]

var<workgroup> open: array<u32, PARTS>; // parts with a logit that may be kept
var<workgroup> keys: array<u32, CANDIDATES>;
var<workgroup> tokens: array<u32, CANDIDATES>;
var<workgroup> chosen: Sampling; // read by one invocation for all: so it is uniform
var<workgroup> weights: array<f32, CANDIDATES>; // exp(logit − the largest)

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = group.x * VOCAB_STRIDE;
    let part = group.x * (1u + PARTS) + 1u;
    let stamp = parts[part - 1u].x;
    let r = step[1u + group.x].w;
    let position = step[1u + r].z;
    if lane == 0u {
        chosen = sampling[step[1u + r].y];
        if chosen.temperature < LEAST_TEMPERATURE {
            chosen.top_k = 1u;
            chosen.top_p = 1.0;
            chosen.min_p = 0.0;
        }
    }
    var most = 0u;
    for (var p = lane; p < PARTS; p += WORKGROUP) { most = max(most, parts[part + p].x); }
    most = workgroup_max_u32(most, lane);
    let how = workgroupUniformLoad(&chosen);
    if most == 0u {
        if lane == 0u { emit_token(group.x, stamp, NO_TOKEN); }
        return;
    }
    let top_k = select(how.top_k, 0u, how.top_k >= VOCAB);

    // Keys that cannot be kept: those below `rank_floor` by top-k, those below `floor` at all.
    let rank_floor = select(1u, part_floor(part, top_k, lane), top_k > 0u && top_k <= PARTS);
    let min_floor = min_p_floor(how.min_p, most);
    var floor = rank_floor;
    var mass = part_mass(part, most, lane);
    if top_k == 0u { floor = max(floor, top_p_floor(how.top_p, most, mass)); }
    // Top-p needs the mass of all that top-k keeps, min-p or not.
    if top_k == 0u || how.top_p >= 1.0 { floor = max(floor, min_floor); }

    let count = gather(row, part, floor, most, lane);
    var least = floor;
    var best = vec2<u32>(); // (key of the score, ~token): the larger one wins, and of equals the first token
    if count <= CANDIDATES {
        if top_k > 0u && count > top_k {
            least = candidates_top_k(top_k, count, most, lane);
        }
        if how.top_p < 1.0 {
            if top_k > 0u { mass = candidates_mass(least, count, lane); }
            least = candidates_top_p(how.top_p * mass, least, count, most, lane);
        }
        least = max(least, min_floor);
        for (var c = lane; c < count; c += WORKGROUP) {
            if keys[c] >= least { best = better(how, best, keys[c], tokens[c], most, position); }
        }
    } else {
        if top_k > 0u {
            least = max(rank_floor, greatest(true, f32(top_k), rank_floor, most, row, lane));
            mass = row_sums(false, least, 0u, most, row, VOCAB, lane).x;
        }
        if how.top_p < 1.0 {
            let low = max(least, top_p_floor(how.top_p, most, mass));
            least = max(low, greatest(false, how.top_p * mass, low, most, row, lane));
        }
        least = min(max(least, min_floor), most);
        for (var token = lane; token < VOCAB; token += WORKGROUP) {
            let key = order_key(logits[row + token]);
            if key >= least { best = better(how, best, key, token, most, position); }
        }
    }
    let score = workgroup_max_u32(best.x, lane);
    let token = ~workgroup_max_u32(select(0u, best.y, best.x == score), lane);
    if lane == 0u { emit_token(group.x, stamp, token); }
}

// A key that the top_k-th largest one reaches: the top_k-th largest of the parts' maxima, to its first 16 bits.
fn part_floor(part: u32, top_k: u32, lane: u32) -> u32 {
    var floor = 0u;
    for (var bit = 0x80000000u; bit > 0x8000u; bit /= 2u) {
        var count = 0u;
        for (var p = lane; p < PARTS; p += WORKGROUP) { count += u32(parts[part + p].x >= (floor | bit)); }
        if workgroup_sum_u32(count, lane) >= top_k { floor |= bit; }
    }
    return max(floor, 1u);
}

fn min_p_floor(min_p: f32, most: u32) -> u32 {
    if min_p <= 0.0 { return 1u; }
    return min(most, order_key(order_value(most) + log(min_p)));
}

// A key that the last token of top-p reaches: all that lies below it together, were it the whole row, is less than what may go.
fn top_p_floor(top_p: f32, most: u32, mass: f32) -> u32 {
    if top_p >= 1.0 { return 1u; }
    let slack = 0.01; // far more than the sums are off
    return min(most, order_key(order_value(most) + log((1.0 - top_p) * mass / f32(VOCAB)) - slack));
}

// Σ exp(logit − the largest) over the row.
fn part_mass(part: u32, most: u32, lane: u32) -> f32 {
    var sum = 0.0;
    for (var p = lane; p < PARTS; p += WORKGROUP) {
        let found = parts[part + p];
        if found.x > 0u { sum += bitcast<f32>(found.y) * exp(order_value(found.x) - order_value(most)); }
    }
    return workgroup_sum_f32(sum, lane);
}

// Collects the logits from `floor` on, always in the same order; if there are more than CANDIDATES it only counts them.
fn gather(row: u32, part: u32, floor: u32, most: u32, lane: u32) -> u32 {
    var mine = 0u;
    for (var p = lane; p < PARTS; p += WORKGROUP) { mine += u32(parts[part + p].x >= floor); }
    var at = workgroup_scan_u32(mine, lane);
    let parts_open = workgroup_scan_all();
    for (var p = lane; p < PARTS; p += WORKGROUP) {
        if parts[part + p].x >= floor {
            open[at] = p;
            at++;
        }
    }
    workgroupBarrier();
    mine = 0u;
    for (var i = lane; i < parts_open * PART; i += WORKGROUP) {
        let token = open[i / PART] * PART + i % PART;
        if token < VOCAB { mine += u32(order_key(logits[row + token]) >= floor); }
    }
    at = workgroup_scan_u32(mine, lane);
    let found = workgroup_scan_all();
    if found <= CANDIDATES {
        for (var i = lane; i < parts_open * PART; i += WORKGROUP) {
            let token = open[i / PART] * PART + i % PART;
            if token >= VOCAB { continue; }
            let key = order_key(logits[row + token]);
            if key >= floor {
                keys[at] = key;
                tokens[at] = token;
                weights[at] = exp(order_value(key) - order_value(most));
                at++;
            }
        }
    }
    workgroupBarrier();
    return found;
}

// The top_k-th largest of the candidates' keys.
fn candidates_top_k(top_k: u32, count: u32, most: u32, lane: u32) -> u32 {
    var least = most;
    for (var c = lane; c < count; c += WORKGROUP) {
        var greater = 0u;
        for (var other = 0u; other < count; other++) { greater += u32(keys[other] > keys[c]); }
        if greater < top_k { least = min(least, keys[c]); }
    }
    return ~workgroup_max_u32(~least, lane);
}

// The least key, from `low` on, of which the greater ones have less than `share`.
fn candidates_top_p(share: f32, low: u32, count: u32, most: u32, lane: u32) -> u32 {
    var least = most;
    for (var c = lane; c < count; c += WORKGROUP) {
        var greater = 0.0;
        for (var other = 0u; other < count; other++) { greater += select(0.0, weights[other], keys[other] > keys[c]); }
        if keys[c] >= low && greater < share { least = min(least, keys[c]); }
    }
    return ~workgroup_max_u32(~least, lane);
}

fn candidates_mass(least: u32, count: u32, lane: u32) -> f32 {
    var sum = 0.0;
    for (var c = lane; c < count; c += WORKGROUP) { sum += select(0.0, weights[c], keys[c] >= least); }
    return workgroup_sum_f32(sum, lane);
}

// The greatest key such that those from it on number `goal`, or weigh it; if that is below `low`, a key that is not above `low`.
fn greatest(number: bool, goal: f32, low: u32, most: u32, row: u32, lane: u32) -> u32 {
    var shift = (33u - countLeadingZeros(low ^ most)) & ~1u; // of the bits that may differ, an even number
    var least = 0u;
    if shift < 32u { least = (most >> shift) << shift; }
    // Always as many turns as there are pairs of bits: FXC takes no barrier in a loop whose length comes from a function that returns
    // early. Turns that are left over read nothing.
    for (var turn = 0u; turn < 16u; turn++) {
        let undecided = shift > 0u;
        shift -= select(0u, 2u, undecided);
        let sums = row_sums(number, least, 1u << shift, most, row, select(0u, VOCAB, undecided), lane);
        if undecided { least += (u32(sums.x >= goal) + u32(sums.y >= goal) + u32(sums.z >= goal)) << shift; }
    }
    return least;
}

// The number or the weight of the keys from least + 1, + 2, + 3 steps on, of a row's first `count` tokens.
fn row_sums(number: bool, least: u32, step: u32, most: u32, row: u32, count: u32, lane: u32) -> vec3<f32> {
    let bounds = least + step * vec3<u32>(1u, 2u, 3u);
    var sums = vec3<f32>();
    for (var token = lane; token < count; token += WORKGROUP) {
        let key = order_key(logits[row + token]);
        if key >= bounds.x {
            var amount = 1.0;
            if !number { amount = exp(order_value(key) - order_value(most)); }
            sums += select(vec3<f32>(), vec3<f32>(amount), vec3<u32>(key) >= bounds);
        }
    }
    return vec3<f32>(workgroup_sum_f32(sums.x, lane), workgroup_sum_f32(sums.y, lane), workgroup_sum_f32(sums.z, lane));
}

// The better one of `best` and a token, as (key of the score, ~token).
fn better(how: Sampling, best: vec2<u32>, key: u32, token: u32, most: u32, position: u32) -> vec2<u32> {
    var other = vec2<u32>(key, ~token);
    if how.temperature >= LEAST_TEMPERATURE {
        let score = (order_value(key) - order_value(most)) / how.temperature + gumbel(how.seed, position, token);
        other.x = order_key(score);
    }
    if other.x > best.x || (other.x == best.x && other.y > best.y) { return other; }
    return best;
}
