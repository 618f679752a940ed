// The state of a head through the chunks of a step's rows, and what comes of it: by products of matrices, with what recurrent_chunk.wgsl
// found of each chunk. Formulas are there.
//
// Columns of S do not depend on each other: a workgroup has 16 of a head's, which stay in registers along all rows of a run. It is there for
// the runs that begin in its chunk, and goes along each to its end. Products go through workgroup memory, 32 numbers of a row at a time, of which
// the next are asked for ahead.

import package::lib::chunks::CHUNK;
import package::lib::grid::flat;
import package::lib::runs::begins_run;
import package::lib::runs::run_end;

override HEADS: u32 = 1u;
override KEY_HEADS: u32 = 1u;    // heads of k and q
override ROWS: u32 = 64u;        // columns of S: numbers of v
override FOURS: u32 = 16u;       // vectors of a column, 64 at most: of k and q
override Q_AT: u32 = 0u;         // where the parts of x begin
override K_AT: u32 = 64u;
override V_AT: u32 = 128u;
override STRIDE: u32 = 192u;     // of x
override OUT_STRIDE: u32 = 64u;
override DELTA: u32 = 1u;        // 0: Mamba-2
override TILES: u32 = 4u;        // workgroups of a head

const WORKGROUP: u32 = 128u;
const COLUMNS: u32 = 16u;        // of a workgroup
const SLICE: u32 = 8u;           // vectors of a row that are multiplied at a time
const LINE: u32 = 9u;            // of a row in workgroup memory: neighbouring rows are in other banks
const PAIRS: u32 = 17u;          // pairs of a chunk's rows, and room for the same reason

@group(0) @binding(0) var<storage, read> step: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;              // [rows, STRIDE]
@group(0) @binding(2) var<storage, read> chunks: array<vec4<f32>>;         // see lib/chunks.wgsl
@group(0) @binding(3) var<storage, read> through: array<f32>;              // [HEADS], or anything
@group(0) @binding(4) var<storage, read_write> state: array<vec4<f32>>;    // [slots, HEADS, ROWS, FOURS]
@group(0) @binding(5) var<storage, read_write> y: array<f32>;              // [rows, OUT_STRIDE]

var<workgroup> k_tile: array<vec4<f32>, 288>;
var<workgroup> q_tile: array<vec4<f32>, 288>;
var<workgroup> s_tile: array<vec4<f32>, 144>;
var<workgroup> rest: array<vec2<f32>, 272>;       // v − G · Sᵀ k of each column, two rows side by side
var<workgroup> change: array<vec2<f32>, 272>;     // d
var<workgroup> until: array<f32, 32>;             // of each row, what is left of k behind the chunk

// What an invocation has of the next vectors of k and q, of its rows of T or P, and of S: four columns, and every 32nd vector of each. Places are
// numbers known when the pipeline is made, or none of it would stay in registers.
var<private> k_next: array<vec4<f32>, 2>;
var<private> q_next: array<vec4<f32>, 2>;
var<private> left: array<vec4<f32>, 16>;
var<private> s: array<vec4<f32>, 8>;

// Asks for vectors of k and q, of the rows from low to high.
fn fetch(n: u32, vector: u32, row: u32, low: u32, high: u32, there: bool) {
    k_next[n] = vec4<f32>();
    q_next[n] = vec4<f32>();
    if (row >= low && row < high && there) {
        k_next[n] = x[K_AT / 4u + vector];
        q_next[n] = x[Q_AT / 4u + vector];
    }
}

fn take(n: u32, line: u32) {
    left[2u * n] = chunks[line + n];
    left[2u * n + 1u] = chunks[line + ROW_FOURS + n];
}

// Asks for both rows of T or P.
fn take_rows(line: u32) {
    take(0u, line);
    take(1u, line);
    take(2u, line);
    take(3u, line);
    take(4u, line);
    take(5u, line);
    take(6u, line);
    take(7u, line);
}

// Four numbers of both rows times those of both columns.
fn of_rest(n: u32, c: u32) -> vec4<f32> {
    let near = vec4(rest[c * PAIRS + 2u * n], rest[c * PAIRS + 2u * n + 1u]);
    let far = vec4(rest[(c + 8u) * PAIRS + 2u * n], rest[(c + 8u) * PAIRS + 2u * n + 1u]);
    let t0 = left[2u * n];
    let t1 = left[2u * n + 1u];
    return vec4(dot(t0, near), dot(t1, near), dot(t0, far), dot(t1, far));
}

fn of_change(n: u32, c: u32) -> vec4<f32> {
    let near = vec4(change[c * PAIRS + 2u * n], change[c * PAIRS + 2u * n + 1u]);
    let far = vec4(change[(c + 8u) * PAIRS + 2u * n], change[(c + 8u) * PAIRS + 2u * n + 1u]);
    let p0 = left[2u * n];
    let p1 = left[2u * n + 1u];
    return vec4(dot(p0, near), dot(p1, near), dot(p0, far), dot(p1, far));
}

// A vector of k, as much of it as is left behind the chunk; nothing of other runs' rows.
fn left_of_k(vector: u32, row: u32, low: u32, high: u32) -> vec4<f32> {
    var k = vec4<f32>();
    if (row >= low && row < high) {
        k = until[row] * x[vector + row * (STRIDE / 4u)];
    }
    return k;
}

// Adds k dᵀ of four pairs of rows to a vector of each of the four columns.
fn add_pairs(i: u32, p: u32, vector: u32, own: u32, low: u32, high: u32) {
    let k0 = left_of_k(vector, 2u * p, low, high);
    let k1 = left_of_k(vector, 2u * p + 1u, low, high);
    let k2 = left_of_k(vector, 2u * p + 2u, low, high);
    let k3 = left_of_k(vector, 2u * p + 3u, low, high);
    let k4 = left_of_k(vector, 2u * p + 4u, low, high);
    let k5 = left_of_k(vector, 2u * p + 5u, low, high);
    let k6 = left_of_k(vector, 2u * p + 6u, low, high);
    let k7 = left_of_k(vector, 2u * p + 7u, low, high);
    add_to(i, own * PAIRS + p, k0, k1, k2, k3, k4, k5, k6, k7);
    add_to(i + 1u, (own + 1u) * PAIRS + p, k0, k1, k2, k3, k4, k5, k6, k7);
    add_to(i + 2u, (own + 2u) * PAIRS + p, k0, k1, k2, k3, k4, k5, k6, k7);
    add_to(i + 3u, (own + 3u) * PAIRS + p, k0, k1, k2, k3, k4, k5, k6, k7);
}

fn add_to(
    i: u32,
    at: u32,
    k0: vec4<f32>,
    k1: vec4<f32>,
    k2: vec4<f32>,
    k3: vec4<f32>,
    k4: vec4<f32>,
    k5: vec4<f32>,
    k6: vec4<f32>,
    k7: vec4<f32>,
) {
    let d0 = change[at];
    let d1 = change[at + 1u];
    let d2 = change[at + 2u];
    let d3 = change[at + 3u];
    s[i] += d0.x * k0 + d0.y * k1 + d1.x * k2 + d1.y * k3 + d2.x * k4 + d2.y * k5 + d3.x * k6 + d3.y * k7;
}

// Reads or writes a vector of a column of S.
fn load_state(i: u32, at: u32, there: bool) {
    s[i] = vec4<f32>();
    if (there) {
        s[i] = state[at];
    }
}

fn store_state(i: u32, at: u32, there: bool) {
    if (there) {
        state[at] = s[i];
    }
}

// A number of x, or 0.
fn number(at: u32, there: bool) -> f32 {
    var found = 0.0;
    if (there) {
        found = x[at / 4u][at % 4u];
    }
    return found;
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group_id: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let group = flat(group_id);
    let rows = step[0].x;
    let begin = min(group / (HEADS * TILES) * CHUNK, rows);
    let stop = min(begin + CHUNK, rows);
    let head = group / TILES % HEADS;
    let first_column = group % TILES * COLUMNS;
    let key_head = select(head / (HEADS / KEY_HEADS), head % KEY_HEADS, DELTA == 1u);
    // 0, which no compiler knows: unrolled, the loop from there would take it seconds.
    let none = rows >> 31u;

    // Of a product with a chunk's rows an invocation has two rows, next to each other, and two columns, 8 apart.
    let t = local / 8u * 2u;
    let c = local % 8u;
    // Of S four columns, and a vector or two of each.
    let lane = local % 32u;
    let own = local / 32u * 4u;
    let far_lane = lane + 32u;
    let here = lane < FOURS;
    let there = far_lane < FOURS;

    var r = begin;
    if (begin < stop && !begins_run(begin)) {
        r = run_end(begin);
    }
    while (r < stop) {
        let end = run_end(r);
        let start = (step[1u + r].y * HEADS + head) * ROWS + first_column + own;
        let goes_on = step[1u + r].z > 0u;
        load_state(0u, start * FOURS + lane, goes_on && here && first_column + own < ROWS);
        load_state(1u, (start + 1u) * FOURS + lane, goes_on && here && first_column + own + 1u < ROWS);
        load_state(2u, (start + 2u) * FOURS + lane, goes_on && here && first_column + own + 2u < ROWS);
        load_state(3u, (start + 3u) * FOURS + lane, goes_on && here && first_column + own + 3u < ROWS);
        if (FOURS > 32u) {
            load_state(4u, start * FOURS + far_lane, goes_on && there && first_column + own < ROWS);
            load_state(5u, (start + 1u) * FOURS + far_lane, goes_on && there && first_column + own + 1u < ROWS);
            load_state(6u, (start + 2u) * FOURS + far_lane, goes_on && there && first_column + own + 2u < ROWS);
            load_state(7u, (start + 3u) * FOURS + far_lane, goes_on && there && first_column + own + 3u < ROWS);
        }
        for (var base = r / CHUNK * CHUNK; base < end; base += CHUNK) {
            // The rows of the chunk that are of the run.
            let low = max(r, base) - base;
            let high = min(end - base, CHUNK);
            let of_chunk = (base * HEADS + head * CHUNK) * ROW_FOURS;
            // All that needs no state is asked for first.
            let line = of_chunk + t * ROW_FOURS;
            let factors = chunks[line + 2u * SIDE_FOURS];
            let next_factors = chunks[line + ROW_FOURS + 2u * SIDE_FOURS];
            let first_inside = t >= low && t < high;
            let second_inside = t + 1u >= low && t + 1u < high;
            let at = (base + t) * STRIDE + V_AT + head * ROWS + first_column + c;
            let near = first_column + c < ROWS;
            let far = first_column + c + 8u < ROWS;
            let v = vec4(
                number(at, first_inside && near),
                number(at + STRIDE, second_inside && near),
                number(at + 8u, first_inside && far),
                number(at + STRIDE + 8u, second_inside && far),
            );
            if (DELTA == 1u) {
                take_rows(line);
            }

            // Sᵀ k and Sᵀ q.
            var of_k = vec4<f32>();
            var of_q = vec4<f32>();
            let four = local % SLICE;
            let row = local / SLICE;
            let vector = (base + row) * (STRIDE / 4u) + key_head * FOURS + four;
            fetch(0u, vector, row, low, high, four < FOURS);
            fetch(1u, vector + 4u * STRIDE, row + 16u, low, high, four < FOURS);
            for (var at = none; at < FOURS; at += SLICE) {
                workgroupBarrier();
                k_tile[row * LINE + four] = k_next[0];
                q_tile[row * LINE + four] = q_next[0];
                k_tile[(row + 16u) * LINE + four] = k_next[1];
                q_tile[(row + 16u) * LINE + four] = q_next[1];
                if (lane / SLICE == at % 32u / SLICE) {
                    s_tile[own * LINE + four] = select(s[0], s[4], at >= 32u);
                    s_tile[(own + 1u) * LINE + four] = select(s[1], s[5], at >= 32u);
                    s_tile[(own + 2u) * LINE + four] = select(s[2], s[6], at >= 32u);
                    s_tile[(own + 3u) * LINE + four] = select(s[3], s[7], at >= 32u);
                }
                workgroupBarrier();
                let next = at + SLICE;
                fetch(0u, vector + next, row, low, high, next + four < FOURS);
                fetch(1u, vector + next + 4u * STRIDE, row + 16u, low, high, next + four < FOURS);
                for (var f = 0u; f < SLICE; f++) {
                    let s0 = s_tile[c * LINE + f];
                    let s1 = s_tile[(c + 8u) * LINE + f];
                    let q0 = q_tile[t * LINE + f];
                    let q1 = q_tile[(t + 1u) * LINE + f];
                    of_q += vec4(dot(q0, s0), dot(q1, s0), dot(q0, s1), dot(q1, s1));
                    if (DELTA == 1u) {
                        let k0 = k_tile[t * LINE + f];
                        let k1 = k_tile[(t + 1u) * LINE + f];
                        of_k += vec4(dot(k0, s0), dot(k1, s0), dot(k0, s1), dot(k1, s1));
                    }
                }
            }

            // What v has that S has not yet said; nothing where a row is another run's.
            let both = vec4(first_inside, second_inside, first_inside, second_inside);
            let by_row = vec4(factors.x, next_factors.x, factors.x, next_factors.x);
            var d = select(vec4<f32>(), by_row * v, both);
            if (DELTA == 1u) {
                let unsaid = select(vec4<f32>(), v - by_row * of_k, both);
                rest[c * PAIRS + t / 2u] = unsaid.xy;
                rest[(c + 8u) * PAIRS + t / 2u] = unsaid.zw;
                workgroupBarrier();
                d = of_rest(0u, c) + of_rest(1u, c) + of_rest(2u, c) + of_rest(3u, c);
                d += of_rest(4u, c) + of_rest(5u, c) + of_rest(6u, c) + of_rest(7u, c);
                d = select(vec4<f32>(), d, both);
            }
            take_rows(line + SIDE_FOURS);
            change[c * PAIRS + t / 2u] = d.xy;
            change[(c + 8u) * PAIRS + t / 2u] = d.zw;
            if (c == 0u) {
                until[t] = factors.z;
                until[t + 1u] = next_factors.z;
            }
            workgroupBarrier();

            var o = vec4(factors.y, next_factors.y, factors.y, next_factors.y) * of_q;
            o += of_change(0u, c) + of_change(1u, c) + of_change(2u, c) + of_change(3u, c);
            o += of_change(4u, c) + of_change(5u, c) + of_change(6u, c) + of_change(7u, c);
            if (DELTA == 0u) {
                o += through[head] * v;
            }
            let to = (base + t) * OUT_STRIDE + head * ROWS + first_column + c;
            if (first_inside && near) {
                y[to] = o.x;
            }
            if (second_inside && near) {
                y[to + OUT_STRIDE] = o.y;
            }
            if (first_inside && far) {
                y[to + 8u] = o.z;
            }
            if (second_inside && far) {
                y[to + OUT_STRIDE + 8u] = o.w;
            }

            // The state behind the chunk.
            let keep = chunks[of_chunk + (high - 1u) * ROW_FOURS + 2u * SIDE_FOURS].w;
            let of_head = (base * STRIDE + K_AT) / 4u + key_head * FOURS;
            s[0] *= keep;
            s[1] *= keep;
            s[2] *= keep;
            s[3] *= keep;
            if (FOURS > 32u) {
                s[4] *= keep;
                s[5] *= keep;
                s[6] *= keep;
                s[7] *= keep;
            }
            for (var p = none; p < 16u; p += 4u) {
                if (here) {
                    add_pairs(0u, p, of_head + lane, own, low, high);
                }
                if (FOURS > 32u && there) {
                    add_pairs(4u, p, of_head + far_lane, own, low, high);
                }
            }
        }
        store_state(0u, start * FOURS + lane, here && first_column + own < ROWS);
        store_state(1u, (start + 1u) * FOURS + lane, here && first_column + own + 1u < ROWS);
        store_state(2u, (start + 2u) * FOURS + lane, here && first_column + own + 2u < ROWS);
        store_state(3u, (start + 3u) * FOURS + lane, here && first_column + own + 3u < ROWS);
        if (FOURS > 32u) {
            store_state(4u, start * FOURS + far_lane, there && first_column + own < ROWS);
            store_state(5u, (start + 1u) * FOURS + far_lane, there && first_column + own + 1u < ROWS);
            store_state(6u, (start + 2u) * FOURS + far_lane, there && first_column + own + 2u < ROWS);
            store_state(7u, (start + 3u) * FOURS + far_lane, there && first_column + own + 3u < ROWS);
        }
        r = end;
    }
}
