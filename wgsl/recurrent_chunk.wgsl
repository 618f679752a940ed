// What the rows of a chunk say to each other, for each head; recurrent_scan.wgsl carries the state through the chunks.
// Yang et al. 2024, arXiv 2406.06484 and 2412.06464 (the delta rule in chunks, with gates); Dao & Gu 2024, arXiv 2405.21060 (Mamba-2)
//
// A chunk is 32 rows of a step, in which runs may begin and end: a row knows nothing of other runs. Of rows j ≤ t of one run let g(t, j) be
// the product of the gates behind j up to t, G(t) that of all from the run's first row in the chunk on, S the state in front of them. Then
//   (I + A) d = β (v − G · Sᵀ k), A(t, j) = β(t) g(t, j) k(t)·k(j) for j < t: the changes d, by T = (I + A)⁻¹ β;
//   o(t) = G(t) · Sᵀ q(t) + Σ P(t, j) d(j), P(t, j) = g(t, j) q(t)·k(j); and behind the last row n, S = G(n) · S + Σ g(n, j) k(j) d(j)ᵀ.
// k and q of length 1 are of the delta rule; Mamba-2 has no A, and d = Δ · v. Gates are multiplied one by one: quotients of products that
// have vanished would be nothing.

import package::lib::chunks::CHUNK;
import package::lib::grid::flat;
import package::lib::runs::begins_run;
import package::lib::softplus::softplus;

override HEADS: u32 = 1u;
override KEY_HEADS: u32 = 1u;    // heads of k and q
override FOURS: u32 = 16u;       // vectors of k and of q
override Q_AT: u32 = 0u;         // where the parts of x begin
override K_AT: u32 = 64u;
override STRIDE: u32 = 192u;     // of x
override A_STRIDE: u32 = 8u;
override B_STRIDE: u32 = 8u;
override DELTA: u32 = 1u;        // 0: Mamba-2
override EPS: f32 = 1e-6;

const WORKGROUP: u32 = 256u;
const SLICE: u32 = 4u;           // vectors of a row that are multiplied at a time
const LINE: u32 = 5u;            // of a row in workgroup memory: neighbouring rows are in other banks
const SIDE: u32 = 33u;

@group(0) @binding(0) var<storage, read> step: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;              // [rows, STRIDE]
@group(0) @binding(2) var<storage, read> a: array<f32>;                    // [rows, A_STRIDE]
@group(0) @binding(3) var<storage, read> b: array<f32>;                    // [rows, B_STRIDE], or anything
@group(0) @binding(4) var<storage, read> decay: array<f32>;                // [HEADS]
@group(0) @binding(5) var<storage, read> bias: array<f32>;                 // [HEADS]
@group(0) @binding(6) var<storage, read_write> chunks: array<vec4<f32>>;   // see lib/chunks.wgsl

var<workgroup> k_tile: array<vec4<f32>, 160>;
var<workgroup> q_tile: array<vec4<f32>, 160>;
var<workgroup> k_by_k: array<f32, 1056>;     // on and below the diagonal; T then lies above it, a column in a row
var<workgroup> q_by_k: array<f32, 1056>;
var<workgroup> q_by_q: array<f32, 32>;
var<workgroup> keeps: array<f32, 32>;        // g of each row
var<workgroup> shares: array<f32, 32>;       // β or Δ
var<workgroup> begins: array<u32, 32>;
var<workgroup> since: array<f32, 32>;        // G
var<workgroup> until: array<f32, 32>;        // g(n, j), n being the run's last row in the chunk

// What k of a row is multiplied by.
fn of_k(t: u32) -> f32 {
    return select(1.0, 1.0 / sqrt(k_by_k[t * SIDE + t] + EPS), DELTA == 1u);
}

fn of_q(t: u32) -> f32 {
    return select(1.0, 1.0 / sqrt((q_by_q[t] + EPS) * 4.0 * f32(FOURS)), DELTA == 1u);
}

fn t_entry(t: u32, j: u32) -> f32 {
    let inverse = select(k_by_k[j * SIDE + t], 1.0, t == j);
    return select(0.0, inverse * shares[j], j <= t);
}

fn p_entry(t: u32, j: u32) -> f32 {
    return select(0.0, q_by_k[t * SIDE + j], j <= t);
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group_id: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let group = flat(group_id);
    let rows = step[0].x;
    let chunk = group / HEADS;
    let head = group % HEADS;
    let key_head = select(head / (HEADS / KEY_HEADS), head % KEY_HEADS, DELTA == 1u);
    let base = chunk * CHUNK;

    // Products of all pairs of rows: an invocation has two rows of k and q, next to each other, and two of k, 16 apart.
    let t = local / 16u * 2u;
    let j = local % 16u;
    let r = local % 128u / SLICE;
    let own = local % SLICE;
    let part = select(K_AT, Q_AT, local >= 128u);
    var of_pairs = vec4<f32>();
    var q_of_pairs = vec4<f32>();
    var squares = vec2<f32>();
    for (var at = 0u; at < FOURS; at += SLICE) {
        var v = vec4<f32>();
        if (base + r < rows && at + own < FOURS) {
            v = x[((base + r) * STRIDE + part) / 4u + key_head * FOURS + at + own];
        }
        workgroupBarrier();
        if (local < 128u) {
            k_tile[r * LINE + own] = v;
        } else {
            q_tile[r * LINE + own] = v;
        }
        workgroupBarrier();
        for (var f = 0u; f < SLICE; f++) {
            let k0 = k_tile[t * LINE + f];
            let k1 = k_tile[(t + 1u) * LINE + f];
            let q0 = q_tile[t * LINE + f];
            let q1 = q_tile[(t + 1u) * LINE + f];
            let near = k_tile[j * LINE + f];
            let far = k_tile[(j + 16u) * LINE + f];
            if (DELTA == 1u) {
                of_pairs += vec4(dot(k0, near), dot(k0, far), dot(k1, near), dot(k1, far));
                squares += vec2(dot(q0, q0), dot(q1, q1));
            }
            q_of_pairs += vec4(dot(q0, near), dot(q0, far), dot(q1, near), dot(q1, far));
        }
    }
    k_by_k[t * SIDE + j] = of_pairs.x;
    k_by_k[t * SIDE + j + 16u] = of_pairs.y;
    k_by_k[(t + 1u) * SIDE + j] = of_pairs.z;
    k_by_k[(t + 1u) * SIDE + j + 16u] = of_pairs.w;
    q_by_k[t * SIDE + j] = q_of_pairs.x;
    q_by_k[t * SIDE + j + 16u] = q_of_pairs.y;
    q_by_k[(t + 1u) * SIDE + j] = q_of_pairs.z;
    q_by_k[(t + 1u) * SIDE + j + 16u] = q_of_pairs.w;
    if (j == 0u) {
        q_by_q[t] = squares.x;
        q_by_q[t + 1u] = squares.y;
    }
    if (local < CHUNK) {
        let row = base + local;
        var keep = 1.0;
        var share = 0.0;
        var first = 1u;
        if (row < rows) {
            let size = softplus(a[row * A_STRIDE + head] + bias[head]);
            keep = exp(decay[head] * size);
            share = size;
            if (DELTA == 1u) {
                share = 1.0 / (1.0 + exp(-b[row * B_STRIDE + head]));
            }
            first = u32(begins_run(row));
        }
        keeps[local] = keep;
        shares[local] = share;
        begins[local] = first;
    }
    workgroupBarrier();

    // Column `own_row` of A by one invocation, of P by another, downwards.
    let own_row = local % CHUNK;
    if (local < 2u * CHUNK) {
        let of_own = of_k(own_row);
        var product = 1.0;
        var last = 1.0;
        var same = true;
        for (var n = own_row; n < CHUNK; n++) {
            if (n > own_row) {
                same = same && begins[n] == 0u;
                product *= keeps[n];
            }
            last = select(last, product, same);
            let at = n * SIDE + own_row;
            if (local >= CHUNK) {
                q_by_k[at] = select(0.0, q_by_k[at] * product * of_q(n) * of_own, same);
            } else if (DELTA == 1u && n > own_row) {
                k_by_k[at] = select(0.0, k_by_k[at] * product * shares[n] * of_k(n) * of_own, same);
            }
        }
        if (local >= CHUNK) {
            until[own_row] = last * of_own;
        } else {
            product = keeps[own_row];
            for (var n = own_row; n > 0u && begins[n] == 0u; n--) {
                product *= keeps[n - 1u];
            }
            since[own_row] = product;
        }
    }
    workgroupBarrier();

    // Column `own_row` of the inverse, downwards: T(t) = −Σ A(t, j) T(j). Where its run has ended nothing is multiplied.
    if (DELTA == 1u && local < CHUNK) {
        var same = true;
        for (var n = own_row + 1u; n < CHUNK; n++) {
            same = same && begins[n] == 0u;
            var sum = 0.0;
            if (same) {
                sum = k_by_k[n * SIDE + own_row];
                for (var i = own_row + 1u; i < n; i++) {
                    sum += k_by_k[n * SIDE + i] * k_by_k[own_row * SIDE + i];
                }
            }
            k_by_k[own_row * SIDE + n] = -sum;
        }
    }
    workgroupBarrier();

    for (var i = local; i < CHUNK * ROW_FOURS; i += WORKGROUP) {
        let n = i / ROW_FOURS;
        let four = i % ROW_FOURS;
        var v = vec4<f32>();
        if (four < SIDE_FOURS) {
            let first = four * 4u;
            v = vec4(t_entry(n, first), t_entry(n, first + 1u), t_entry(n, first + 2u), t_entry(n, first + 3u));
        } else if (four < 2u * SIDE_FOURS) {
            let first = (four - SIDE_FOURS) * 4u;
            v = vec4(p_entry(n, first), p_entry(n, first + 1u), p_entry(n, first + 2u), p_entry(n, first + 3u));
        } else {
            // What S is multiplied by for k (in Mamba-2, v), for q, k for what is behind the chunk, and S.
            v = vec4(select(shares[n], since[n] * of_k(n), DELTA == 1u), since[n] * of_q(n), until[n], since[n]);
        }
        if (base < rows) {
            chunks[((chunk * HEADS + head) * CHUNK + n) * ROW_FOURS + four] = v;
        }
    }
}
