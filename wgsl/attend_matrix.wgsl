// y[r, h] = Σ over p of softmax over p (SCALE · q[r, h] · k[p, g]) · v[p, g], p up to r's position, g = h / (HEADS / KV_HEADS): of many rows,
// on matrix units.
//
// A workgroup takes ROWS rows and SHARE heads that read the same keys, 64 lines of queries, 16 of them a subgroup's; positions come
// page by page, those alone that a row sees. Each line's weights are relative to a score that was once its largest: sums are
// rescaled where it is passed by more than SLACK, which is seldom after the first pages, and f16 holds what lies between
// (Milakov & Gimelshein 2018, arXiv 1805.02867, with a slack). Queries come to lie below 2¹⁵, as in halves.wgsl. Rows of several slots are taken slot by slot.

import package::keys::key_fetch;
import package::lib::grid::flat;
import package::lib::invocation::Invocation;
import package::lib::kv_layout::page_of;
import package::matrix::Left;
import package::values::value_fetch;

override HEADS: u32 = 1u;
override KV_HEADS: u32 = 1u;
override STRIDE: u32 = 64u;       // from a row of q to the next, and of y
override FOURS: u32 = 16u;        // numbers of a head, in fours: whole matrices of 16, 16 of them at most
override SCALE: f32 = 1.0;
override WINDOW: u32 = 0u;
override SOFTCAP: f32 = 0.0;      // bounds scores softly, if above 0
override SHARE: u32 = 1u;         // heads of a line's row
override ROWS: u32 = 64u;         // ROWS · SHARE lines

const WORKGROUP: u32 = 128u;
const LINES: u32 = 64u;
const SLACK: f32 = 8.0;
const LEAST: f32 = -3.0e38;
const WEIGHT_LINE: u32 = PAGE / 4u + 2u;      // vectors from a line of weights to the next
const SCORE_LINE: u32 = PAGE / 4u + 1u;       // of scores

override LINE: u32 = FOURS + 2u;              // of keys, values and queries
override WEIGHTS: u32 = 2u * PAGE * LINE;     // where weights begin, behind keys and values
override TILE_FOURS: u32 = WEIGHTS + LINES * WEIGHT_LINE;
override STAGE_FOURS: u32 = LINES * SCORE_LINE;

@group(0) @binding(0) var<storage, read> step: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> q: array<vec4<f32>>;            // [rows, STRIDE]
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;      // [rows, STRIDE]
@group(0) @binding(4) var<storage, read> keys: array<KeyElement>;        // see lib/kv_layout.wgsl
@group(0) @binding(5) var<storage, read> values: array<ValueElement>;

var<workgroup> line_scales: array<f32, LINES>;
var<workgroup> totals: array<f32, WORKGROUP>;
var<workgroup> passed: u32;       // whether any line's largest score was passed by more than the slack

var<private> queries: array<Left, 16>;
var<private> sums: array<Sums, 16>;

// Where line m is in q and y; past the last line and the last row, somewhere else in them.
fn place_of_line(m: u32, r0: u32, rows: u32, head: u32) -> u32 {
    return min(r0 + m / SHARE, rows - 1u) * (STRIDE / 4u) + (head + m % SHARE) * FOURS;
}

fn take(i: u32, own: u32) {
    if (4u * i < FOURS) {
        queries[i] = load_left(own + 4u * i, LINE);
        sums[i] = Sums();
    }
}

fn take_four(i: u32, own: u32) {
    take(i, own);
    take(i + 1u, own);
    take(i + 2u, own);
    take(i + 3u, own);
}

// Queries into the tiles of keys and values, then into the subgroup's matrices.
fn take_queries(r0: u32, rows: u32, head: u32, at: Invocation) {
    for (var i = 0u; i < 16u; i++) {
        let m = subgroup_of(at) * 16u + i;
        let start = place_of_line(m, r0, rows, head);
        var largest = 0.0;
        for (var four = lane_of(at); four < FOURS; four += 32u) {
            let v = abs(q[start + four] * SCALE);
            largest = max(max(largest, max(v.x, v.y)), max(v.z, v.w));
        }
        let biased = clamp(bitcast<u32>(subgroup_max(largest, at)) >> 23u, 27u, 254u);
        for (var four = lane_of(at); four < FOURS; four += 32u) {
            tile_put(m * LINE + four, q[start + four] * SCALE * bitcast<f32>((268u - biased) << 23u));
        }
        if (lane_of(at) == 0u) {
            line_scales[m] = bitcast<f32>((biased - 14u) << 23u);
        }
    }
    workgroupBarrier();
    let own = subgroup_of(at) * 16u * LINE;
    take_four(0u, own);
    if (FOURS > 16u) {
        take_four(4u, own);
    }
    if (FOURS > 32u) {
        take_four(8u, own);
        take_four(12u, own);
    }
    workgroupBarrier();
}

// What an invocation holds of the next page. Places are numbers known when the pipeline is made, here and in all that goes by fours, or neither
// these nor matrices would stay in registers.
var<private> key_fours: array<KeyFour, 16>;
var<private> value_fours: array<ValueFour, 16>;

fn fetch(i: u32, page: u32, group: u32, local: u32) {
    if (4u * i < FOURS) {
        let t = i * WORKGROUP + local;
        key_fours[i] = key_fetch(key_place(page, t % PAGE, group * FOURS), t / PAGE);
        value_fours[i] = value_fetch(value_place(page, t / FOURS, group * FOURS), t % FOURS);
    }
}

fn fetch_four(i: u32, page: u32, group: u32, local: u32) {
    fetch(i, page, group, local);
    fetch(i + 1u, page, group, local);
    fetch(i + 2u, page, group, local);
    fetch(i + 3u, page, group, local);
}

// Asks for keys and values of a page.
fn fetch_page(page: u32, group: u32, local: u32) {
    fetch_four(0u, page, group, local);
    if (FOURS > 16u) {
        fetch_four(4u, page, group, local);
    }
    if (FOURS > 32u) {
        fetch_four(8u, page, group, local);
        fetch_four(12u, page, group, local);
    }
}

fn put(i: u32, local: u32) {
    if (4u * i < FOURS) {
        let t = i * WORKGROUP + local;
        tile_put(t % PAGE * LINE + t / PAGE, key_load(key_fours[i]));
        tile_put((PAGE + t / FOURS) * LINE + t % FOURS, value_load(value_fours[i]));
    }
}

fn put_four(i: u32, local: u32) {
    put(i, local);
    put(i + 1u, local);
    put(i + 2u, local);
    put(i + 3u, local);
}

fn put_page(local: u32) {
    put_four(0u, local);
    if (FOURS > 16u) {
        put_four(4u, local);
    }
    if (FOURS > 32u) {
        put_four(8u, local);
        put_four(12u, local);
    }
}

var<private> near: Sums;
var<private> far: Sums;

fn score(i: u32) {
    if (4u * i < FOURS) {
        near = multiply_add(queries[i], load_right(4u * i, LINE), near);
        far = multiply_add(queries[i], load_right(16u * LINE + 4u * i, LINE), far);
    }
}

fn score_four(i: u32) {
    score(i);
    score(i + 1u);
    score(i + 2u);
    score(i + 3u);
}

// Scores of the subgroup's lines, of all positions of a page.
fn stage_scores(at: Invocation) {
    near = Sums();
    far = Sums();
    score_four(0u);
    if (FOURS > 16u) {
        score_four(4u);
    }
    if (FOURS > 32u) {
        score_four(8u);
        score_four(12u);
    }
    let own = subgroup_of(at) * 16u * SCORE_LINE;
    stage_sums(near, own, SCORE_LINE);
    stage_sums(far, own + 4u, SCORE_LINE);
}

fn add_value(i: u32, weights: Left, rows: u32) {
    if (4u * i < FOURS) {
        sums[i] = multiply_add(weights, load_right_rows(rows + 4u * i, LINE), sums[i]);
    }
}

fn add_four(i: u32, weights: Left, rows: u32) {
    add_value(i, weights, rows);
    add_value(i + 1u, weights, rows);
    add_value(i + 2u, weights, rows);
    add_value(i + 3u, weights, rows);
}

// Adds the values of 16 positions of the page.
fn add_values(positions: u32, at: Invocation) {
    let weights = load_left(WEIGHTS + subgroup_of(at) * 16u * WEIGHT_LINE + positions / 4u, WEIGHT_LINE);
    let rows = (PAGE + positions) * LINE;
    add_four(0u, weights, rows);
    if (FOURS > 16u) {
        add_four(4u, weights, rows);
    }
    if (FOURS > 32u) {
        add_four(8u, weights, rows);
        add_four(12u, weights, rows);
    }
}

fn rescale(i: u32, factor: f32, at: Invocation) {
    if (4u * i < FOURS) {
        let own = subgroup_of(at) * 16u * SCORE_LINE;
        let line = own + lane_of(at) / 2u * SCORE_LINE + lane_of(at) % 2u * 2u;
        stage_sums(sums[i], own, SCORE_LINE);
        workgroupBarrier();
        stage_put(line, factor * staged(line));
        stage_put(line + 1u, factor * staged(line + 1u));
        workgroupBarrier();
        sums[i] = load_sums(own, SCORE_LINE);
        workgroupBarrier();
    }
}

fn rescale_four(i: u32, factor: f32, at: Invocation) {
    rescale(i, factor, at);
    rescale(i + 1u, factor, at);
    rescale(i + 2u, factor, at);
    rescale(i + 3u, factor, at);
}

// Multiplies what was summed up so far by a factor for each line, two lanes to a line.
fn rescale_sums(factor: f32, at: Invocation) {
    rescale_four(0u, factor, at);
    if (FOURS > 16u) {
        rescale_four(4u, factor, at);
    }
    if (FOURS > 32u) {
        rescale_four(8u, factor, at);
        rescale_four(12u, factor, at);
    }
}

fn finish(i: u32, to: u32, total: f32, valid: bool, at: Invocation) {
    if (4u * i < FOURS) {
        let own = subgroup_of(at) * 16u * SCORE_LINE;
        let line = own + lane_of(at) / 2u * SCORE_LINE + lane_of(at) % 2u * 2u;
        stage_sums(sums[i], own, SCORE_LINE);
        workgroupBarrier();
        if (valid) {
            y[to + 4u * i] = staged(line) / total;
            y[to + 4u * i + 1u] = staged(line + 1u) / total;
        }
        workgroupBarrier();
    }
}

fn finish_four(i: u32, to: u32, total: f32, valid: bool, at: Invocation) {
    finish(i, to, total, valid, at);
    finish(i + 1u, to, total, valid, at);
    finish(i + 2u, to, total, valid, at);
    finish(i + 3u, to, total, valid, at);
}

fn bounded(score: f32) -> f32 {
    if (SOFTCAP > 0.0) {
        return SOFTCAP * tanh(clamp(score / SOFTCAP, -15.0, 15.0));
    }
    return score;
}

fn run(group_id: vec3<u32>, at: Invocation) {
    matrix_begin(at.local);
    let rows = step[0].x;
    let tiles = max((rows + ROWS - 1u) / ROWS, 1u);
    let shares = HEADS / SHARE;
    let group = min(flat(group_id), tiles * shares - 1u);
    // The last rows see most: they begin first.
    let r0 = (tiles - 1u - group / shares) * ROWS;
    let head = group % shares * SHARE;
    let kv_head = head / (HEADS / KV_HEADS);
    let end = min(r0 + ROWS, rows);
    take_queries(r0, rows, head, at);

    // Two lanes to a line, each with half of a page's positions.
    let m = subgroup_of(at) * 16u + lane_of(at) / 2u;
    let own_row = r0 + m / SHARE;
    let own = step[1u + min(own_row, rows - 1u)];
    let valid = own_row < end && m < ROWS * SHARE;
    let line_scale = line_scales[m];
    let scores = m * SCORE_LINE;
    var largest = LEAST;
    var total = 0.0;
    if (at.local == 0u) {
        passed = 0u;
    }
    var r = r0;
    while (r < end) {
        // The rows from r on that are of one slot, and what they see.
        let slot = step[1u + r].y;
        var first = step[1u + r].z;
        var last = first;
        while (r < end && step[1u + r].y == slot) {
            first = min(first, step[1u + r].z);
            last = max(last, step[1u + r].z);
            r++;
        }
        first = select(first - min(first, WINDOW - 1u), 0u, WINDOW == 0u);
        fetch_page(page_of(slot, first), kv_head, at.local);
        for (var p0 = first / PAGE * PAGE; p0 <= last; p0 += PAGE) {
            put_page(at.local);
            workgroupBarrier();
            if (p0 + PAGE <= last) {
                fetch_page(page_of(slot, p0 + PAGE), kv_head, at.local);
            }
            stage_scores(at);
            workgroupBarrier();
            let seen = valid && own.y == slot;
            let since = select(own.z - min(own.z, WINDOW - 1u), 0u, WINDOW == 0u);
            var found: array<vec4<f32>, 4>;
            var best = LEAST;
            for (var i = 0u; i < 8u; i++) {
                let p = vec4(p0 + 4u * i) + vec4(0u, 1u, 2u, 3u);
                let raw = staged(scores + i) * line_scale;
                let score = vec4(bounded(raw.x), bounded(raw.y), bounded(raw.z), bounded(raw.w));
                let masked = select(vec4(LEAST), score, p <= vec4(own.z) & p >= vec4(since) & vec4(seen));
                best = max(max(best, max(masked.x, masked.y)), max(masked.z, masked.w));
                if (i / 4u == lane_of(at) % 2u) {
                    found[i % 4u] = masked;
                }
            }
            var factor = 1.0;
            if (best > largest + SLACK || largest == LEAST) {
                factor = select(exp(largest - best), 1.0, largest == LEAST);
                if (largest != LEAST) {
                    passed = 1u;
                }
                largest = best;
            }
            total *= factor;
            for (var i = 0u; i < 4u; i++) {
                let weight = select(vec4<f32>(), exp(found[i] - largest), found[i] > vec4(LEAST));
                total += weight.x + weight.y + weight.z + weight.w;
                tile_put(WEIGHTS + m * WEIGHT_LINE + lane_of(at) % 2u * 4u + i, weight);
            }
            if (workgroupUniformLoad(&passed) == 1u) {
                rescale_sums(factor, at);
                if (at.local == 0u) {
                    passed = 0u;
                }
            }
            add_values(0u, at);
            add_values(16u, at);
            workgroupBarrier();
        }
    }
    totals[at.local] = total;
    workgroupBarrier();
    let all = totals[at.local] + totals[at.local ^ 1u];
    let to = place_of_line(m, r0, rows, head) + lane_of(at) % 2u * 2u;
    finish_four(0u, to, all, valid, at);
    if (FOURS > 16u) {
        finish_four(4u, to, all, valid, at);
    }
    if (FOURS > 32u) {
        finish_four(8u, to, all, valid, at);
        finish_four(12u, to, all, valid, at);
    }
}
