// Queries as they come from their projection, beside the key and the value of the same row, of which there is one: what heads.wgsl
// does, by each workgroup for its own head. So the row's key and value do not come from the caches; the first of the heads that
// share them writes them there, for the rows that follow. Where keys and values are an earlier layer's, there are queries alone.

import package::keys::key_rounded;
import package::lib::head_norm::weight_of;
import package::values::value_rounded;

override Q_STEP: u32 = 64u;         // from a query to the next: HEAD_DIM, or twice that where gates lie between them

@group(0) @binding(1) var<storage, read> x: array<f32>;                  // queries, then keys, then values, if these are not made of what keys are made of
@group(0) @binding(3) var<storage, read> cos_sin: array<vec2<f32>>;      // [positions, ROTARY / 2] of (cos, sin), or anything
@group(0) @binding(4) var<storage, read_write> keys: array<KeyElement>;  // see lib/kv_layout.wgsl
@group(0) @binding(5) var<storage, read_write> values: array<ValueElement>;
@group(0) @binding(9) var<storage, read> q_norm: array<f32>;             // [HEAD_DIM], or [HEADS, HEAD_DIM] where WHOLE, or anything
@group(0) @binding(10) var<storage, read> k_norm: array<f32>;
@group(0) @binding(11) var<storage, read> sinks: array<f32>;             // [HEADS], or anything

override OWNS: u32 = 3u * FOURS;
var<workgroup> own: array<vec4<f32>, OWNS>;            // query, key, value
var<workgroup> own_sums: array<vec4<f32>, TEAMS>;      // squares of the three, of each subgroup
var<workgroup> own_products: array<f32, TEAMS>;

// The largest size of the numbers of a block of the part of `own` that begins at `first`; 0 behind its end.
fn largest_of(first: u32, numbers: u32, block: u32) -> f32 {
    var largest = vec4<f32>();
    for (var c = block * numbers / 4u; c < min((block + 1u) * numbers / 4u, FOURS); c++) {
        largest = max(largest, abs(own[first + c]));
    }
    return max(max(largest.x, largest.y), max(largest.z, largest.w));
}

// This invocation's part of the squares of `count` numbers from `first` on.
fn squares_from(first: u32, count: u32, lane: u32) -> f32 {
    var squares = 0.0;
    for (var i = lane; i < count; i += WORKGROUP) {
        squares += x[first + i] * x[first + i];
    }
    return squares;
}

fn begin_head(h: u32, row: vec4<u32>, at: Invocation) {
    let kv_head = h / (HEADS / KV_HEADS);
    let which = at.local / FOURS;   // 0: query, 1: key, 2: value
    let c = at.local % FOURS;
    var start = h * Q_STEP;
    if (which == 1u) {
        start = HEADS * Q_STEP + kv_head * HEAD_DIM;
    } else if (which > 1u) {
        start = HEADS * Q_STEP + (select(KV_HEADS, 0u, SHARED == 1u) + kv_head) * HEAD_DIM;
    }
    // Four numbers, those that they turn with, and by how much.
    var numbers = vec4<f32>();
    var others = vec4<f32>();
    var cosines = vec4<f32>(1.0);
    var sines = vec4<f32>();
    var weights_of = vec4<f32>(1.0);
    var weights_of_others = vec4<f32>(1.0);
    if (VALUES == 0u && which == 2u) {
        let value = value_place(page_of(row.y, row.z), row.z, kv_head * FOURS);
        numbers = value_load(value_fetch(value, c));
    } else if (which <= 2u * OWN) {
        for (var k = 0u; k < 4u; k++) {
            let i = 4u * c + k;
            numbers[k] = x[start + i];
            if (which < 2u) {
                var other = i;
                if (i < ROTARY) {
                    let second = i / PAIR_STEP % 2u;
                    let turn = cos_sin[row.z * (ROTARY / 2u) + i / (2u * PAIR_STEP) * PAIR_STEP + i % PAIR_STEP];
                    other = i + PAIR_STEP - 2u * second * PAIR_STEP;
                    cosines[k] = turn.x;
                    sines[k] = select(-turn.y, turn.y, second == 1u);
                }
                others[k] = x[start + other];
                if (NORM != 0u) {
                    let first = WHOLE * select(h, kv_head, which == 1u) * HEAD_DIM;
                    weights_of[k] = weight_of(which == 1u, first + i);
                    weights_of_others[k] = weight_of(which == 1u, first + other);
                }
            }
        }
    }
    var scale = 1.0;
    if (NORM != 0u) {
        let square = dot(numbers, numbers);
        var part = select(vec4<f32>(), vec4<f32>(square), vec4<u32>(which) == vec4<u32>(0u, 1u, 2u, 3u));
        var count = HEAD_DIM;
        if (WHOLE == 1u) {
            let all = HEADS * HEAD_DIM;
            count = select(all, KV_HEADS * HEAD_DIM, which == 1u);
            part = vec4<f32>(squares_from(0u, all, at.local), squares_from(all, OWN * KV_HEADS * HEAD_DIM, at.local), 0.0, 0.0);
        }
        let sums = subgroup_sum4(part, at);
        if (lane_of(at) == 0u) {
            own_sums[subgroup_of(at)] = sums;
        }
        workgroupBarrier();
        var squares = vec4<f32>();
        for (var t = 0u; t < subgroups_of(at); t++) {
            squares += own_sums[t];
        }
        let mean = select(select(squares.z, squares.y, which == 1u), squares.x, which == 0u) / f32(count);
        if (which < 2u || VALUE_NORM == 1u) {
            scale = 1.0 / sqrt(mean + EPS);
        }
    }
    // Turning does not change a head's length: norms behind it have the same scale, and weigh what has turned.
    if (NORM == 1u) {
        numbers *= weights_of;
        others *= weights_of_others;
    }
    var turned = numbers * cosines + others * sines;
    if (NORM == 2u) {
        turned *= weights_of;
    }
    turned *= scale;
    if (which < 3u) {
        own[at.local] = turned;
    }
    workgroupBarrier();

    var product = 0.0;
    if (OWN == 1u && which == 0u) {
        product = dot(turned, key_rounded(own[FOURS + c], largest_of(FOURS, KEY_BLOCK, 4u * c / KEY_BLOCK)));
    }
    product = subgroup_sum(product, at);
    if (lane_of(at) == 0u) {
        own_products[subgroup_of(at)] = product;
    }
    if (OWN == 1u && h % (HEADS / KV_HEADS) == 0u) {
        let page = page_of(row.y, row.z);
        let key = key_place(page, row.z, kv_head * FOURS);
        let value = value_place(page, row.z, kv_head * FOURS);
        if (which == 1u) {
            keys[key_element(key, c)] = key_pack(turned, largest_of(FOURS, KEY_BLOCK, 4u * c / KEY_BLOCK));
        }
        if (VALUES == 1u && which == 2u) {
            values[value_element(value, c)] = value_pack(turned, largest_of(2u * FOURS, VALUE_BLOCK, 4u * c / VALUE_BLOCK));
        }
        for (var n = at.local; n < KEY_SCALES; n += WORKGROUP) {
            let largest = vec2<f32>(largest_of(FOURS, KEY_BLOCK, 2u * n), largest_of(FOURS, KEY_BLOCK, 2u * n + 1u));
            keys[key_scale_element(key, n)] = key_pack_scales(largest);
        }
        for (var n = at.local; n < VALUE_SCALES * VALUES; n += WORKGROUP) {
            let first = 2u * FOURS;
            let largest = vec2<f32>(largest_of(first, VALUE_BLOCK, 2u * n), largest_of(first, VALUE_BLOCK, 2u * n + 1u));
            values[value_scale_element(value, n)] = value_pack_scales(largest);
        }
    }
}

fn query_four(r: u32, h: u32, c: u32) -> vec4<f32> {
    return own[c];
}

fn own_product(at: Invocation) -> f32 {
    var product = 0.0;
    for (var t = 0u; t < subgroups_of(at); t++) {
        product += own_products[t];
    }
    return product;
}

fn own_number(n: u32) -> f32 {
    let largest = largest_of(2u * FOURS, VALUE_BLOCK, n / VALUE_BLOCK);
    return value_rounded(own[2u * FOURS + n / 4u], largest)[n % 4u];
}

fn sink_of(h: u32) -> f32 {
    return sinks[h];
}

fn gate_of(r: u32, h: u32, n: u32) -> f32 {
    return x[h * Q_STEP + HEAD_DIM + n];
}
