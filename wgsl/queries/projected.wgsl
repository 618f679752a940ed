// Queries as they come from their projection, beside the key and the value of the same row, of which there is one: what heads.wgsl
// does, by each workgroup for its own head. So the row's key and value do not come from the caches; the first of the heads that
// share them writes them there, for the rows that follow. Where keys and values are an earlier layer's, there are queries alone.

import package::keys::key_rounded;
import package::lib::head_norm::turned_with;
import package::values::value_rounded;

override Q_STEP: u32 = 64u;         // from a query to the next: HEAD_DIM, or twice that where gates lie between them

@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;            // queries, then keys, then values, if these are not made of what keys are made of
@group(0) @binding(3) var<storage, read> cos_sin: array<vec2<f32>>;      // [positions, ROTARY / 2] of (cos, sin), or anything
@group(0) @binding(4) var<storage, read_write> keys: array<KeyElement>;  // see lib/kv_layout.wgsl
@group(0) @binding(5) var<storage, read_write> values: array<ValueElement>;
@group(0) @binding(9) var<storage, read> q_norm: array<vec4<f32>>;       // [HEAD_DIM], or [HEADS, HEAD_DIM] where WHOLE, or anything
@group(0) @binding(10) var<storage, read> k_norm: array<vec4<f32>>;
@group(0) @binding(11) var<storage, read> sinks: array<f32>;             // [HEADS], or anything

override OWNS: u32 = 3u * FOURS;
var<workgroup> own: array<vec4<f32>, OWNS>;            // query, key, value, without the scales of their norms
var<workgroup> own_sums: array<vec4<f32>, TEAMS>;      // squares of the three, of each subgroup
var<workgroup> own_products: array<f32, TEAMS>;
var<private> own_scales: vec4<f32>;                    // of query, key and value, by their norms

// The largest size of the numbers of a block of the key, which is part 1 of `own`, or the value, part 2; 0 behind its end.
fn largest_of(part: u32, numbers: u32, block: u32) -> f32 {
    var largest = vec4<f32>();
    for (var c = block * numbers / 4u; c < min((block + 1u) * numbers / 4u, FOURS); c++) {
        largest = max(largest, abs(own[part * FOURS + c]));
    }
    return own_scales[part] * max(max(largest.x, largest.y), max(largest.z, largest.w));
}

// This invocation's part of the squares of `count` fours from `first` on.
fn squares_from(first: u32, count: u32, lane: u32) -> f32 {
    var squares = 0.0;
    for (var i = lane; i < count; i += WORKGROUP) {
        squares += dot(x[first + i], x[first + i]);
    }
    return squares;
}

// Whether all of a subgroup have the same part of the three, so that its squares are one sum.
fn are_of_one() -> bool {
    return WHOLE == 0u && SUBGROUP_SIZE != 0u && FOURS % max(SUBGROUP_SIZE, 1u) == 0u;
}

// Keeps what this invocation adds to the squares of part `which`; all invocations of the workgroup call it together.
fn keep_squares(square: f32, which: u32, at: Invocation) {
    var sums: vec4<f32>;
    if (are_of_one()) {
        sums = vec4<f32>(subgroup_sum(square, at), 0.0, 0.0, 0.0);
    } else {
        var of_each = select(vec4<f32>(), vec4<f32>(square), vec4<u32>(which) == vec4<u32>(0u, 1u, 2u, 3u));
        if (WHOLE == 1u) {
            let queries = HEADS * FOURS;
            of_each.x = squares_from(0u, queries, at.local);
            of_each.y = squares_from(queries, OWN * KV_HEADS * FOURS, at.local);
        }
        sums = subgroup_sum4(of_each, at);
    }
    if (lane_of(at) == 0u) {
        own_sums[subgroup_of(at)] = sums;
    }
}

// The squares of the three, behind a barrier.
fn kept_squares(at: Invocation) -> vec4<f32> {
    var squares = vec4<f32>();
    if (are_of_one()) {
        let teams = FOURS / lanes_of(at);
        for (var t = 0u; t < teams; t++) {
            squares.x += own_sums[t].x;
            if (OWN == 1u) {
                squares.y += own_sums[teams + t].x;
                squares.z += own_sums[2u * teams + t].x;
            }
        }
        return squares;
    }
    for (var t = 0u; t < subgroups_of(at); t++) {
        squares += own_sums[t];
    }
    return squares;
}

// How many numbers these are of.
fn counts() -> vec4<f32> {
    if (WHOLE == 1u) {
        return vec4<f32>(f32(HEADS * HEAD_DIM), f32(KV_HEADS * HEAD_DIM), 1.0, 1.0);
    }
    return vec4<f32>(f32(HEAD_DIM));
}

// Four numbers of the row's own query, key or value, those that they turn with, and the weights of both in norms of queries and keys.
struct OwnPart {
    numbers: vec4<f32>,
    others: vec4<f32>,
    weights: vec4<f32>,
    weights_of_others: vec4<f32>,
}

// Which of them an invocation has: 0 for the query, 1 for the key, 2 for the value.
fn which_of(at: Invocation) -> u32 {
    return place_of(at) / FOURS;
}

// Where there are both they are both asked for: a condition would be waited for.
fn weights_of(which: u32, h: u32, four: u32) -> vec4<f32> {
    if (WEIGHTED == 0u) {
        return vec4<f32>(1.0);
    }
    let of_query = q_norm[WHOLE * h * FOURS + four];
    if (OWN == 0u) {
        return of_query;
    }
    let of_key = k_norm[WHOLE * (h / (HEADS / KV_HEADS)) * FOURS + four];
    return select(select(vec4<f32>(1.0), of_key, which == 1u), of_query, which == 0u);
}

// Where the numbers are that four neighbours turn with: among themselves, four neighbours, too, or anywhere.
const AMONG_THEM: u32 = 0u;
const NEIGHBOURS: u32 = 1u;
const ANYWHERE: u32 = 2u;

fn partners() -> u32 {
    if (ROTARY == 0u || PAIR_STEP == 1u) {
        return AMONG_THEM;
    }
    return select(ANYWHERE, NEIGHBOURS, PAIR_STEP % 4u == 0u);
}

// Asks for what begin_head makes of the head, under no condition and before anything is known of the step. All invocations of the workgroup call it.
fn ask_head(h: u32, at: Invocation) -> OwnPart {
    let kv_head = h / (HEADS / KV_HEADS);
    // Those that have no part ask for what others do, all of them for the same.
    let has_part = place_of(at) < (1u + 2u * OWN) * FOURS;
    let which = select(0u, which_of(at), has_part);
    let c = select(0u, place_of(at) % FOURS, has_part);
    // Values that are no part of x, but in their cache, are asked for when the position is known.
    let behind_keys = select(0u, KV_HEADS, which == 2u && SHARED == 0u && VALUES == 1u);
    let start = select(HEADS * Q_STEP + (behind_keys + kv_head) * HEAD_DIM, h * Q_STEP, which == 0u);
    var part: OwnPart;
    part.numbers = x[start / 4u + c];
    part.others = part.numbers.yxwz;
    part.weights = vec4<f32>(1.0);
    part.weights_of_others = vec4<f32>(1.0);
    if (NORM != 0u) {
        part.weights = weights_of(which, h, c);
        part.weights_of_others = part.weights.yxwz;
    }
    if (partners() == NEIGHBOURS) {
        let other = turned_with(4u * c) / 4u;
        part.others = x[start / 4u + other];
        if (NORM != 0u) {
            part.weights_of_others = weights_of(which, h, other);
        }
    }
    if (partners() == ANYWHERE) {
        for (var k = 0u; k < 4u; k++) {
            let other = turned_with(4u * c + k);
            part.others[k] = x[start / 4u + other / 4u][other % 4u];
            if (NORM != 0u) {
                part.weights_of_others[k] = weights_of(which, h, other / 4u)[other % 4u];
            }
        }
    }
    return part;
}

// Makes the row's own query, key and value of head h; all invocations of the workgroup call it together, with what they asked for.
fn begin_head(h: u32, writes: bool, row: vec4<u32>, part: OwnPart, at: Invocation) {
    let kv_head = h / (HEADS / KV_HEADS);
    let which = which_of(at);
    let c = place_of(at) % FOURS;
    var numbers = part.numbers;
    var others = part.others;
    var cosines = vec4<f32>(1.0);
    var sines = vec4<f32>();
    if (ROTARY > 0u) {
        for (var k = 0u; k < 4u; k++) {
            let i = min(4u * c + k, max(ROTARY, 1u) - 1u);
            let second = i / PAIR_STEP % 2u;
            let turn = cos_sin[row.z * (ROTARY / 2u) + turn_of(i)];
            let turns = which < 2u && 4u * c + k < ROTARY;
            cosines[k] = select(1.0, turn.x, turns);
            sines[k] = select(0.0, select(-turn.y, turn.y, second == 1u), turns);
        }
    }
    if (VALUES == 0u && OWN == 1u) {
        let value = value_place(page_of(row.y, row.z), row.z, kv_head * FOURS);
        numbers = select(numbers, value_load(value_fetch(value, c)), which == 2u);
    }
    if (NORM != 0u) {
        keep_squares(dot(numbers, numbers), which, at);
    }
    // Turning does not change a head's length: norms behind it have the same scale, and weigh what has turned.
    if (NORM == 1u) {
        numbers *= part.weights;
        others *= part.weights_of_others;
    }
    var turned = numbers * cosines + others * sines;
    if (NORM == 2u) {
        turned *= part.weights;
    }
    if (which < 3u) {
        own[place_of(at)] = turned;
    }
    workgroupBarrier();
    own_scales = vec4<f32>(1.0);
    if (NORM != 0u) {
        own_scales = 1.0 / sqrt(kept_squares(at) / counts() + EPS);
        if (VALUE_NORM == 0u) {
            own_scales.z = 1.0;
        }
    }

    var product = 0.0;
    if (OWN == 1u && which == 0u) {
        let key = own_scales.y * own[FOURS + c];
        product = own_scales.x * dot(turned, key_rounded(key, largest_of(1u, KEY_BLOCK, 4u * c / KEY_BLOCK)));
    }
    product = subgroup_sum(product, at);
    if (lane_of(at) == 0u) {
        own_products[subgroup_of(at)] = product;
    }
    turned *= own_scales[min(which, 2u)];
    if (OWN == 1u && writes && h % (HEADS / KV_HEADS) == 0u) {
        let page = page_of(row.y, row.z);
        let key = key_place(page, row.z, kv_head * FOURS);
        let value = value_place(page, row.z, kv_head * FOURS);
        if (which == 1u) {
            keys[key_element(key, c)] = key_pack(turned, largest_of(1u, KEY_BLOCK, 4u * c / KEY_BLOCK));
        }
        if (VALUES == 1u && which == 2u) {
            values[value_element(value, c)] = value_pack(turned, largest_of(2u, VALUE_BLOCK, 4u * c / VALUE_BLOCK));
        }
        for (var n = at.local; n < KEY_SCALES; n += WORKGROUP) {
            let largest = vec2<f32>(largest_of(1u, KEY_BLOCK, 2u * n), largest_of(1u, KEY_BLOCK, 2u * n + 1u));
            keys[key_scale_element(key, n)] = key_pack_scales(largest);
        }
        for (var n = at.local; n < VALUE_SCALES * VALUES; n += WORKGROUP) {
            let largest = vec2<f32>(largest_of(2u, VALUE_BLOCK, 2u * n), largest_of(2u, VALUE_BLOCK, 2u * n + 1u));
            values[value_scale_element(value, n)] = value_pack_scales(largest);
        }
    }
}

// What query_four leaves out of a score.
fn query_scale() -> f32 {
    return own_scales.x;
}

fn query_four(r: u32, h: u32, c: u32) -> vec4<f32> {
    return own[c];
}

fn own_product(at: Invocation) -> f32 {
    var product = 0.0;
    // Those of other subgroups are zero.
    let teams = select(min(subgroups_of(at), (FOURS + lanes_of(at) - 1u) / lanes_of(at)), subgroups_of(at), SUBGROUP_SIZE == 0u);
    for (var t = 0u; t < teams; t++) {
        product += own_products[t];
    }
    return product;
}

fn own_number(n: u32) -> f32 {
    let largest = largest_of(2u, VALUE_BLOCK, n / VALUE_BLOCK);
    return value_rounded(own_scales.z * own[2u * FOURS + n / 4u], largest)[n % 4u];
}

fn sink_of(h: u32) -> f32 {
    return sinks[h];
}

fn gate_of(r: u32, h: u32, n: u32) -> f32 {
    return x[(h * Q_STEP + HEAD_DIM + n) / 4u][n % 4u];
}
