// Queries, keys and values behind their projection: norms of each head, rotary positions, and the writing of keys and values.
//
// A workgroup for each row and head. x[r] is all queries, then all keys, then all values, if these are not made of what keys are made of.
// GATED, a gate lies behind each query. Values that are in their cache already are no part of x, nor are keys and values of an earlier layer.

import package::lib::grid::flat;
import package::lib::reduce::workgroup_sum_f32;
import package::keys::key_pack;
import package::lib::head_norm::turned_with;
import package::values::value_pack;
import package::lib::kv_layout::page_of;

override HEADS: u32 = 1u;
override KV_HEADS: u32 = 1u;
override HEAD_DIM: u32 = 64u;
override STRIDE: u32 = 64u;         // from a row of x to the next
override Q_STRIDE: u32 = 64u;       // from a row of q, and of gates, to the next
override Q_STEP: u32 = 64u;         // from a query to the next in a row of x: HEAD_DIM, or twice that with gates
override GATED: u32 = 0u;
override WORKGROUP: u32 = 64u;

@group(0) @binding(0) var<storage, read> step: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> x: array<f32>;                  // [rows, STRIDE]
@group(0) @binding(2) var<storage, read_write> q: array<f32>;            // [rows, Q_STRIDE]
@group(0) @binding(3) var<storage, read> cos_sin: array<vec2<f32>>;      // [positions, ROTARY / 2] of (cos, sin), or anything
@group(0) @binding(4) var<storage, read_write> keys: array<KeyElement>;  // see lib/kv_layout.wgsl
@group(0) @binding(5) var<storage, read_write> values: array<ValueElement>;
@group(0) @binding(6) var<storage, read> q_norm: array<f32>;             // [HEAD_DIM], or [HEADS, HEAD_DIM] where WHOLE, or anything
@group(0) @binding(7) var<storage, read> k_norm: array<f32>;
@group(0) @binding(9) var<storage, read_write> gates: array<f32>;        // [rows, Q_STRIDE], or anything

var<workgroup> head: array<f32, HEAD_DIM>;
var<workgroup> turned: array<f32, HEAD_DIM>;

fn weight_of(is_key: bool, i: u32) -> f32 {
    if (WEIGHTED == 0u) {
        return 1.0;
    }
    if (is_key) {
        return k_norm[i];
    }
    return q_norm[i];
}

// The norm's scale for `count` numbers, as seen through one invocation's.
fn root(squares: f32, count: u32, lane: u32) -> f32 {
    return 1.0 / sqrt(workgroup_sum_f32(squares, lane) / f32(count) + EPS);
}

// The c-th four of the finished head.
fn turned_four(c: u32) -> vec4<f32> {
    return vec4<f32>(turned[4u * c], turned[4u * c + 1u], turned[4u * c + 2u], turned[4u * c + 3u]);
}

// The largest size of the numbers of a block of the finished head; 0 behind its end.
fn largest_of(numbers: u32, block: u32) -> f32 {
    var largest = 0.0;
    for (var i = block * numbers; i < min((block + 1u) * numbers, HEAD_DIM); i++) {
        largest = max(largest, abs(turned[i]));
    }
    return largest;
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group_id: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let group = flat(group_id);
    let all = HEADS + OWN * (1u + VALUES) * KV_HEADS;
    let r = min(group / all, max(step[0].x, 1u) - 1u);
    let h = group % all;
    let row = step[1u + r];
    let is_key = h >= HEADS && h < HEADS + KV_HEADS;
    let is_value = h >= HEADS + KV_HEADS;
    let projected = h - select(0u, KV_HEADS, is_value && SHARED == 1u);
    let start = r * STRIDE + min(projected, HEADS) * Q_STEP + (max(projected, HEADS) - HEADS) * HEAD_DIM;
    var squares = 0.0;
    for (var i = lane; i < HEAD_DIM; i += WORKGROUP) {
        let value = x[start + i];
        head[i] = value;
        squares += value * value;
    }
    if (NORM == 1u) {
        let heads = select(1u, select(HEADS, KV_HEADS, is_key), WHOLE == 1u);
        let first = select(0u, HEADS * HEAD_DIM, is_key);
        let first_weight = WHOLE * (start - r * STRIDE - first);
        if (WHOLE == 1u && !is_value) {
            squares = 0.0;
            for (var i = lane; i < heads * HEAD_DIM; i += WORKGROUP) {
                let value = x[r * STRIDE + first + i];
                squares += value * value;
            }
        }
        let scale = root(squares, heads * HEAD_DIM, lane);
        for (var i = lane; i < HEAD_DIM; i += WORKGROUP) {
            let value = select(head[i], head[i] * scale, VALUE_NORM == 1u);
            head[i] = select(head[i] * scale * weight_of(is_key, first_weight + i), value, is_value);
        }
    }
    workgroupBarrier();
    squares = 0.0;
    for (var i = lane; i < HEAD_DIM; i += WORKGROUP) {
        var value = head[i];
        if (i < ROTARY && !is_value) {
            // Whether it is the second of its pair.
            let second = i / PAIR_STEP % 2u;
            let turn = cos_sin[row.z * (ROTARY / 2u) + turn_of(i)];
            let other = head[turned_with(i)];
            value = select(value * turn.x - other * turn.y, other * turn.y + value * turn.x, second == 1u);
        }
        turned[i] = value;
        squares += value * value;
    }
    if (NORM == 2u) {
        let scale = root(squares, HEAD_DIM, lane);
        for (var i = lane; i < HEAD_DIM; i += WORKGROUP) {
            turned[i] = select(turned[i] * scale * weight_of(is_key, i), turned[i], is_value);
        }
    }
    workgroupBarrier();
    if (h < HEADS) {
        for (var i = lane; i < HEAD_DIM; i += WORKGROUP) {
            q[r * Q_STRIDE + h * HEAD_DIM + i] = turned[i];
            if (GATED == 1u) {
                gates[r * Q_STRIDE + h * HEAD_DIM + i] = x[start + HEAD_DIM + i];
            }
        }
        return;
    }
    let page = page_of(row.y, row.z);
    if (is_key) {
        let place = key_place(page, row.z, (h - HEADS) * (HEAD_DIM / 4u));
        for (var c = lane; c < HEAD_DIM / 4u; c += WORKGROUP) {
            keys[key_element(place, c)] = key_pack(turned_four(c), largest_of(KEY_BLOCK, 4u * c / KEY_BLOCK));
        }
        for (var n = lane; n < KEY_SCALES; n += WORKGROUP) {
            let largest = vec2<f32>(largest_of(KEY_BLOCK, 2u * n), largest_of(KEY_BLOCK, 2u * n + 1u));
            keys[key_scale_element(place, n)] = key_pack_scales(largest);
        }
    } else {
        let place = value_place(page, row.z, (h - HEADS - KV_HEADS) * (HEAD_DIM / 4u));
        for (var c = lane; c < HEAD_DIM / 4u; c += WORKGROUP) {
            values[value_element(place, c)] = value_pack(turned_four(c), largest_of(VALUE_BLOCK, 4u * c / VALUE_BLOCK));
        }
        for (var n = lane; n < VALUE_SCALES; n += WORKGROUP) {
            let largest = vec2<f32>(largest_of(VALUE_BLOCK, 2u * n), largest_of(VALUE_BLOCK, 2u * n + 1u));
            values[value_scale_element(place, n)] = value_pack_scales(largest);
        }
    }
}
