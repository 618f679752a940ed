// y[r, h] = Σ over p of softmax over p (SCALE · q[r, h] · k[p, g]) · v[p, g], p up to r's position, g = h / (HEADS / KV_HEADS): of many rows, in
// registers alone.
//
// A lane has two rows of one head to itself, and a workgroup is a subgroup. Positions come page by page, slot by slot: eight lanes load the keys of a
// position each, and then another, and hand them to all; of values each loads some numbers. matmul_lanes.wgsl says what for. The softmax goes with the pages
// (Milakov & Gimelshein 2018, arXiv 1805.02867): a new largest score rescales what was summed before.

import package::keys::key_fetch;
import package::lib::eight::of_eight;
import package::lib::eight_values::Eight;
import package::lib::grid::flat;
import package::lib::invocation::Invocation;
import package::lib::kv_layout::page_of;
import package::lib::runs::run_end;
import package::lib::score_scale::score_scale;
import package::lib::seen::first_seen;
import package::values::value_fetch;

override STRIDE: u32 = 64u;      // from a row of q to the next, and of y
override HEADS: u32 = 1u;
override KV_HEADS: u32 = 1u;
override SOFTCAP: f32 = 0.0;     // bounds scores softly, if above 0
override SINKS: u32 = 0u;        // 1: each head has a score that no position has
override FOURS: u32 = 16u;       // numbers of a head, in fours, 64 at most
override WORKGROUP: u32 = 32u;   // invocations: a subgroup

const LEAST: f32 = -3.0e38;

@group(0) @binding(0) var<storage, read> step: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> q: array<vec4<f32>>;          // [rows, STRIDE]
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;    // [rows, STRIDE]
@group(0) @binding(3) var<storage, read> sinks: array<f32>;            // [HEADS], or anything
@group(0) @binding(4) var<storage, read> keys: array<KeyElement>;      // see lib/kv_layout.wgsl
@group(0) @binding(5) var<storage, read> values: array<ValueElement>;

// Of the lane's two rows: products of a page's positions, and where they lie once they are whole. Of the first nothing is found at run time, so that it stays in
// registers; neither is it of the sums.
var<private> products: array<vec2<f32>, 32>;
var<private> page_scores: array<vec2<f32>, 32>;
var<private> near: array<vec4<f32>, 64>;
var<private> far: array<vec4<f32>, 64>;

fn multiply(i: u32, k: vec4<f32>, a: vec4<f32>, b: vec4<f32>) {
    products[i] += vec2<f32>(dot(a, k), dot(b, k));
}

fn multiply_eight(i: u32, k: Eight, a: vec4<f32>, b: vec4<f32>) {
    multiply(i, k.v0, a, b);
    multiply(i + 1u, k.v1, a, b);
    multiply(i + 2u, k.v2, a, b);
    multiply(i + 3u, k.v3, a, b);
    multiply(i + 4u, k.v4, a, b);
    multiply(i + 5u, k.v5, a, b);
    multiply(i + 6u, k.v6, a, b);
    multiply(i + 7u, k.v7, a, b);
}

fn keep(i: u32) {
    page_scores[i] = products[i];
}

fn keep_eight(i: u32) {
    keep(i);
    keep(i + 1u);
    keep(i + 2u);
    keep(i + 3u);
    keep(i + 4u);
    keep(i + 5u);
    keep(i + 6u);
    keep(i + 7u);
}

fn add(i: u32, v: vec4<f32>, weights: vec2<f32>) {
    if (i < FOURS) {
        near[i] += weights.x * v;
        far[i] += weights.y * v;
    }
}

// Adds numbers 4·i and on of a value.
fn add_eight(i: u32, place: ValuePlace, weights: vec2<f32>, at: Invocation) {
    if (i < FOURS) {
        let v = of_eight(value_load(value_fetch(place, min(i + at.local % 8u, FOURS - 1u))), at);
        add(i, v.v0, weights);
        add(i + 1u, v.v1, weights);
        add(i + 2u, v.v2, weights);
        add(i + 3u, v.v3, weights);
        add(i + 4u, v.v4, weights);
        add(i + 5u, v.v5, weights);
        add(i + 6u, v.v6, weights);
        add(i + 7u, v.v7, weights);
    }
}

fn rescale(i: u32, factors: vec2<f32>) {
    if (i < FOURS) {
        near[i] *= factors.x;
        far[i] *= factors.y;
    }
}

fn rescale_eight(i: u32, factors: vec2<f32>) {
    rescale(i, factors);
    rescale(i + 1u, factors);
    rescale(i + 2u, factors);
    rescale(i + 3u, factors);
    rescale(i + 4u, factors);
    rescale(i + 5u, factors);
    rescale(i + 6u, factors);
    rescale(i + 7u, factors);
}

fn put(i: u32, to: vec2<u32>, totals: vec2<f32>, valid: vec2<bool>) {
    if (i < FOURS) {
        if (valid.x) {
            y[to.x + i] = near[i] / totals.x;
        }
        if (valid.y) {
            y[to.y + i] = far[i] / totals.y;
        }
    }
}

fn put_eight(i: u32, to: vec2<u32>, totals: vec2<f32>, valid: vec2<bool>) {
    put(i, to, totals, valid);
    put(i + 1u, to, totals, valid);
    put(i + 2u, to, totals, valid);
    put(i + 3u, to, totals, valid);
    put(i + 4u, to, totals, valid);
    put(i + 5u, to, totals, valid);
    put(i + 6u, to, totals, valid);
    put(i + 7u, to, totals, valid);
}

fn bounded(score: f32) -> f32 {
    if (SOFTCAP > 0.0) {
        return SOFTCAP * tanh(clamp(score / SOFTCAP, -15.0, 15.0));
    }
    return score;
}

fn run(group_id: vec3<u32>, at: Invocation) {
    let rows = step[0].x;
    let tiles = max((rows + 2u * WORKGROUP - 1u) / (2u * WORKGROUP), 1u);
    let group = min(flat(group_id), tiles * HEADS - 1u);
    // The last rows see most: they begin first.
    let r0 = (tiles - 1u - group / HEADS) * (2u * WORKGROUP);
    let h = group % HEADS;
    let head = h / (HEADS / KV_HEADS) * FOURS;
    let end = min(r0 + 2u * WORKGROUP, rows);
    // Rows past the last one are that one once more.
    let own = r0 + at.local + vec2<u32>(0u, WORKGROUP);
    let valid = own < vec2<u32>(end);
    let read = min(own, vec2<u32>(max(rows, 1u) - 1u));
    let places = read * (STRIDE / 4u) + h * FOURS;
    let first_row = step[1u + read.x];
    let second_row = step[1u + read.y];
    let slots = vec2<u32>(first_row.y, second_row.y);
    let ends = vec2<u32>(first_row.z, second_row.z) + 1u;
    let firsts = vec2<u32>(first_seen(ends.x), first_seen(ends.y));
    let scales = vec2<f32>(score_scale(first_row.z), score_scale(second_row.z));
    near = array<vec4<f32>, 64>();
    far = array<vec4<f32>, 64>();
    var largest = vec2<f32>(LEAST);
    var totals = vec2<f32>();
    if (SINKS == 1u) {
        largest = vec2<f32>(sinks[h]);
        totals = vec2<f32>(1.0);
    }
    var r = r0;
    while (r < end) {
        // The rows from r on that are of one slot, and what they see.
        let slot = step[1u + r].y;
        let first = first_seen(step[1u + r].z + 1u);
        r = min(run_end(r), end);
        let last = step[r].z;
        for (var p0 = first / PAGE * PAGE; p0 <= last; p0 += PAGE) {
            let page = page_of(slot, p0);
            let keys_0 = key_place(page, p0 + at.local % 8u, head);
            let keys_1 = key_place(page, p0 + 8u + at.local % 8u, head);
            let keys_2 = key_place(page, p0 + 16u + at.local % 8u, head);
            let keys_3 = key_place(page, p0 + 24u + at.local % 8u, head);
            products = array<vec2<f32>, 32>();
            for (var c = 0u; c < FOURS; c++) {
                let a = q[places.x + c];
                let b = q[places.y + c];
                multiply_eight(0u, of_eight(key_load(key_fetch(keys_0, c)), at), a, b);
                multiply_eight(8u, of_eight(key_load(key_fetch(keys_1, c)), at), a, b);
                multiply_eight(16u, of_eight(key_load(key_fetch(keys_2, c)), at), a, b);
                multiply_eight(24u, of_eight(key_load(key_fetch(keys_3, c)), at), a, b);
            }
            keep_eight(0u);
            keep_eight(8u);
            keep_eight(16u);
            keep_eight(24u);
            let count = min(PAGE, last + 1u - p0);
            var best = largest;
            for (var i = 0u; i < count; i++) {
                let seen = (slots == vec2<u32>(slot)) & (vec2<u32>(p0 + i) >= firsts) & (vec2<u32>(p0 + i) < ends);
                let found = page_scores[i] * scales;
                let score = select(vec2<f32>(LEAST), vec2<f32>(bounded(found.x), bounded(found.y)), seen);
                page_scores[i] = score;
                best = max(best, score);
            }
            let factors = exp(largest - best);
            largest = best;
            totals *= factors;
            rescale_eight(0u, factors);
            rescale_eight(8u, factors);
            rescale_eight(16u, factors);
            rescale_eight(24u, factors);
            rescale_eight(32u, factors);
            rescale_eight(40u, factors);
            rescale_eight(48u, factors);
            rescale_eight(56u, factors);
            for (var i = 0u; i < count; i++) {
                // Where nothing was seen yet, nothing is as large as what is left out.
                let score = page_scores[i];
                let weights = select(vec2<f32>(), exp(score - largest), score > vec2<f32>(LEAST));
                totals += weights;
                let place = value_place(page, p0 + i, head);
                add_eight(0u, place, weights, at);
                add_eight(8u, place, weights, at);
                add_eight(16u, place, weights, at);
                add_eight(24u, place, weights, at);
                add_eight(32u, place, weights, at);
                add_eight(40u, place, weights, at);
                add_eight(48u, place, weights, at);
                add_eight(56u, place, weights, at);
            }
        }
    }
    put_eight(0u, places, totals, valid);
    put_eight(8u, places, totals, valid);
    put_eight(16u, places, totals, valid);
    put_eight(24u, places, totals, valid);
    put_eight(32u, places, totals, valid);
    put_eight(40u, places, totals, valid);
    put_eight(48u, places, totals, valid);
    put_eight(56u, places, totals, valid);
}
