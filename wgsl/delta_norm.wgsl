// The gated delta rule of one row (recurrent.wgsl says how) and the norm of each head of what it gives, with a gate behind it (gated_norm.wgsl): a workgroup
// for each head, SLICES invocations for each column of its state. And the copy of y for what multiplies it next.

import package::lib::activation::activate_one;
import package::lib::reduce::workgroup_sum_f32;
import package::lib::softplus::softplus;
import package::copy::emit_copy;

override HEADS: u32 = 1u;
override KEY_HEADS: u32 = 1u;    // heads of k and q
override FOURS: u32 = 16u;       // vectors of a column; there are four columns for each
override OWN: u32 = 4u;          // of which so many are an invocation's
override Q_AT: u32 = 0u;         // where the parts of x begin
override K_AT: u32 = 64u;
override V_AT: u32 = 128u;
override DELTA_EPS: f32 = 1e-6;
override EPS: f32 = 1e-5;
override WEIGHT_HEADS: u32 = 1u; // heads that have a weight of their own: one or all
override WORKGROUP: u32 = 256u;

override ROWS: u32 = 4u * FOURS;
override SLICES: u32 = FOURS / OWN;

@group(0) @binding(0) var<storage, read> step: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;              // [one row of q, k and v]
@group(0) @binding(2) var<storage, read> a: array<f32>;                    // [HEADS]
@group(0) @binding(3) var<storage, read> b: array<f32>;                    // [HEADS]
@group(0) @binding(4) var<storage, read> decay: array<f32>;                // [HEADS]
@group(0) @binding(5) var<storage, read> bias: array<f32>;                 // [HEADS]
@group(0) @binding(8) var<storage, read_write> state: array<vec4<f32>>;    // [slots, HEADS, ROWS, FOURS]
@group(0) @binding(9) var<storage, read_write> y: array<f32>;              // [HEADS · ROWS]
@group(0) @binding(10) var<storage, read> z: array<f32>;                   // [HEADS · ROWS]
@group(0) @binding(11) var<storage, read> w: array<f32>;                   // [WEIGHT_HEADS, ROWS]

// Of each invocation: Sᵀ k, Sᵀ q, k · q, k · k; and q · q.
var<workgroup> products: array<vec4<f32>, WORKGROUP>;
var<workgroup> squares: array<f32, WORKGROUP>;
var<workgroup> found: array<f32, WORKGROUP>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group_id: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let head = min(group_id.x, HEADS - 1u);
    let key_head = head % KEY_HEADS;
    let column = lane / SLICES;
    let slice = lane % SLICES;
    let row = step[1];
    let start = ((row.y * HEADS + head) * ROWS + column) * FOURS;
    var s: array<vec4<f32>, 16>;
    var k: array<vec4<f32>, 16>;
    for (var t = 0u; t < OWN; t++) {
        // Asked for in any case: what is loaded in a branch has come before the branch ends.
        s[t] = select(vec4<f32>(), state[start + t * SLICES + slice], row.z > 0u);
    }
    // What is needed further down is asked for here.
    let at = V_AT + head * ROWS + column;
    let v = x[at / 4u][at % 4u];
    let size = softplus(a[head] + bias[head]);
    let keep = exp(decay[head] * size);
    let beta = 1.0 / (1.0 + exp(-b[head]));
    let own = min(lane, ROWS - 1u);
    let gate = activate_one(0u, z[head * ROWS + own]) * w[head % WEIGHT_HEADS * ROWS + own];
    var sums = vec4<f32>();
    var square = 0.0;
    for (var t = 0u; t < OWN; t++) {
        let four = key_head * FOURS + t * SLICES + slice;
        k[t] = x[K_AT / 4u + four];
        let q = x[Q_AT / 4u + four];
        sums += vec4<f32>(dot(s[t], k[t]), dot(s[t], q), dot(k[t], q), dot(k[t], k[t]));
        square += dot(q, q);
    }
    products[lane] = sums;
    squares[lane] = square;
    workgroupBarrier();
    sums = vec4<f32>();
    square = 0.0;
    for (var i = 0u; i < SLICES; i++) {
        sums += products[column * SLICES + i];
        square += squares[column * SLICES + i];
    }
    let of_k = 1.0 / sqrt(sums.w + DELTA_EPS);
    let of_q = 1.0 / sqrt((square + DELTA_EPS) * 4.0 * f32(FOURS));
    let change = (v - keep * of_k * sums.x) * beta;
    for (var t = 0u; t < OWN; t++) {
        state[start + t * SLICES + slice] = keep * s[t] + (of_k * change) * k[t];
    }
    if (slice == 0u) {
        found[column] = of_q * (keep * sums.y + of_k * sums.z * change);
    }
    workgroupBarrier();
    var value = found[own];
    let scale = 1.0 / sqrt(workgroup_sum_f32(select(0.0, value * value, lane < ROWS), lane) / f32(ROWS) + EPS);
    value *= scale * gate;
    if (lane < ROWS) {
        y[head * ROWS + lane] = value;
    }
    emit_copy(0u, head * ROWS + own, value, lane < ROWS, lane);
}
