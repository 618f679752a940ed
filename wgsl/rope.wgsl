// (y₁, y₂) = (x₁·cos θ − x₂·sin θ, x₁·sin θ + x₂·cos θ) for each pair of the ROTARY numbers of each head from FIRST on; all others stay.

import package::lib::grid::flat;

override COLS: u32 = 64u;
override STRIDE: u32 = 64u;
override HEAD_DIM: u32 = 64u;
override FIRST: u32 = 0u;      // the first number of a head that turns; even
override ROTARY: u32 = 64u;
override PAIR_STEP: u32 = 1u;  // from a pair's first number to its second

@group(0) @binding(0) var<storage, read> step: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> x: array<f32>;                  // [rows, STRIDE]
@group(0) @binding(2) var<storage, read> cos_sin: array<vec2<f32>>;        // [positions, ROTARY / 2] of (cos, sin)
@group(0) @binding(3) var<storage, read_write> y: array<f32>;            // [rows, STRIDE]

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = flat(group) * 64u + lane;
    let pairs = COLS / 2u;
    let r = i / pairs;
    if (r >= step[0].x) {
        return;
    }
    let head = i % pairs / (HEAD_DIM / 2u);
    let p = i % (HEAD_DIM / 2u);
    let start = r * STRIDE + head * HEAD_DIM;
    if (2u * p < FIRST || 2u * p >= FIRST + ROTARY) {
        y[start + 2u * p] = x[start + 2u * p];
        y[start + 2u * p + 1u] = x[start + 2u * p + 1u];
        return;
    }
    // With a step of 1 pairs are neighbours; with ROTARY / 2 the halves of the rotary part.
    let pair = p - FIRST / 2u;
    let a = start + FIRST + select(pair, 2u * pair, PAIR_STEP == 1u);
    let turn = cos_sin[step[1u + r].z * (ROTARY / 2u) + pair];
    let u = x[a];
    let v = x[a + PAIR_STEP];
    y[a] = u * turn.x - v * turn.y;
    y[a + PAIR_STEP] = u * turn.y + v * turn.x;
}
