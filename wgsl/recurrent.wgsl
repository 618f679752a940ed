// A matrix S for each head, which every row changes: S ← g · S + k dᵀ, o = Sᵀ q.
//
// The gated delta rule: k and q of length 1, q times width^−1/2, d = β (v − g · Sᵀ k), g = exp(decay · softplus(a + bias)), β = sigmoid(b).
// Mamba-2: k is B, q is C, v is x, Δ = softplus(a + bias), d = Δ · v, g = exp(decay · Δ), and o + through · v is the result.
//
// Columns of S do not depend on each other: a workgroup has some of a head's, SLICES invocations to each, and keeps them in registers
// along all rows of a slot. What a row needs of S are two products, of k and of q with it as it was, which are summed up at once:
// Sᵀ q behind the change is g · Sᵀ q + (k · q) d. So each row costs one barrier. Many rows go by chunks: recurrent_chunk.wgsl.

import package::lib::grid::flat;
import package::lib::runs::begins_run;
import package::lib::runs::run_end;
import package::lib::softplus::softplus;

override HEADS: u32 = 1u;
override KEY_HEADS: u32 = 1u;    // heads of k and q
override ROWS: u32 = 64u;        // columns of S: numbers of v
override FOURS: u32 = 16u;       // vectors of a column: of k and q
override Q_AT: u32 = 0u;         // where the parts of x begin
override K_AT: u32 = 64u;
override V_AT: u32 = 128u;
override STRIDE: u32 = 192u;     // of x
override A_STRIDE: u32 = 8u;
override B_STRIDE: u32 = 8u;
override OUT_STRIDE: u32 = 64u;
override DELTA: u32 = 1u;        // 0: Mamba-2
override EPS: f32 = 1e-6;
override SLICES: u32 = 4u;       // invocations of a column, each with up to four of its vectors
override TILES: u32 = 4u;        // workgroups of a head

const WORKGROUP: u32 = 64u;

@group(0) @binding(0) var<storage, read> step: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;              // [rows, STRIDE]
@group(0) @binding(2) var<storage, read> a: array<f32>;                    // [rows, A_STRIDE]
@group(0) @binding(3) var<storage, read> b: array<f32>;                    // [rows, B_STRIDE], or anything
@group(0) @binding(4) var<storage, read> decay: array<f32>;                // [HEADS]
@group(0) @binding(5) var<storage, read> bias: array<f32>;                 // [HEADS]
@group(0) @binding(6) var<storage, read> through: array<f32>;              // [HEADS], or anything
@group(0) @binding(7) var<storage, read_write> state: array<vec4<f32>>;    // [slots, HEADS, ROWS, FOURS]
@group(0) @binding(8) var<storage, read_write> y: array<f32>;              // [rows, OUT_STRIDE]

// Of each invocation, for two rows in turns: Sᵀ k, Sᵀ q, k · q, k · k; and q · q.
var<workgroup> products: array<vec4<f32>, 128>;
var<workgroup> squares: array<f32, 128>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group_id: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let group = flat(group_id);
    let r = min(group / (HEADS * TILES), max(step[0].x, 1u) - 1u);
    let head = group / TILES % HEADS;
    let column = group % TILES * (WORKGROUP / SLICES) + lane / SLICES;
    let slice = lane % SLICES;
    let slot = step[1u + r].y;
    // A workgroup whose row is not the first of a run, or past the last row, has nothing to do.
    let works = group / (HEADS * TILES) < step[0].x && begins_run(r);
    let end = select(r, run_end(r), works);
    let key_head = select(head / (HEADS / KEY_HEADS), head % KEY_HEADS, DELTA == 1u);
    let valid = column < ROWS;
    let start = ((slot * HEADS + head) * ROWS + min(column, ROWS - 1u)) * FOURS;

    // Neighbours keep neighbouring vectors.
    var s: array<vec4<f32>, 4>;
    for (var t = 0u; t < 4u; t++) {
        let four = t * SLICES + slice;
        s[t] = vec4<f32>();
        if (four < FOURS && step[1u + r].z > 0u) {
            s[t] = state[start + four];
        }
    }
    for (var n = r; n < end; n++) {
        var k: array<vec4<f32>, 4>;
        var sums = vec4<f32>();
        var square = 0.0;
        for (var t = 0u; t < 4u; t++) {
            let four = t * SLICES + slice;
            k[t] = vec4<f32>();
            if (four < FOURS) {
                k[t] = x[(n * STRIDE + K_AT) / 4u + key_head * FOURS + four];
                let q = x[(n * STRIDE + Q_AT) / 4u + key_head * FOURS + four];
                sums += vec4<f32>(dot(s[t], k[t]), dot(s[t], q), dot(k[t], q), dot(k[t], k[t]));
                square += dot(q, q);
            }
        }
        // Rows take turns, so that nobody writes what a neighbour still reads.
        let turn = (n - r) % 2u * WORKGROUP;
        products[turn + lane] = sums;
        squares[turn + lane] = square;
        workgroupBarrier();
        sums = vec4<f32>();
        square = 0.0;
        for (var i = 0u; i < SLICES; i++) {
            sums += products[turn + lane / SLICES * SLICES + i];
            square += squares[turn + lane / SLICES * SLICES + i];
        }
        let at = n * STRIDE + V_AT + head * ROWS + min(column, ROWS - 1u);
        let v = x[at / 4u][at % 4u];
        let size = softplus(a[n * A_STRIDE + head] + bias[head]);
        let keep = exp(decay[head] * size);
        var of_k = 1.0;
        var of_q = 1.0;
        var change = size * v;
        var rest = 0.0;
        if (DELTA == 1u) {
            of_k = 1.0 / sqrt(sums.w + EPS);
            of_q = 1.0 / sqrt((square + EPS) * 4.0 * f32(FOURS));
            change = (v - keep * of_k * sums.x) / (1.0 + exp(-b[n * B_STRIDE + head]));
        } else {
            rest = through[head] * v;
        }
        for (var t = 0u; t < 4u; t++) {
            s[t] = keep * s[t] + (of_k * change) * k[t];
        }
        if (valid && slice == 0u) {
            y[n * OUT_STRIDE + head * ROWS + column] = of_q * (keep * sums.y + of_k * sums.z * change) + rest;
        }
    }
    if (works && valid) {
        for (var t = 0u; t < 4u; t++) {
            let four = t * SLICES + slice;
            if (four < FOURS) {
                state[start + four] = s[t];
            }
        }
    }
}
