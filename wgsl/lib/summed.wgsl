// What a matvec multiplies where that is a sum of which no dispatch before it made more than the parts: a residual, and a value that is normalised
// first; maybe times a number. Each workgroup makes the one row for itself, in workgroup memory, and one of them keeps each part of it for who adds to it next.
//
// The input says how four numbers are kept: put_four(four, numbers, valid, at), called by all invocations together.

override SUM_EPS: f32 = 1e-5;     // of the norm of what is added
override SUM_SCALED: u32 = 0u;    // 1: the sum is multiplied by a number
override KEPT: u32 = 1u;          // 0: another dispatch keeps the sum

override BLOCKS: u32 = (COLS + 15u) / 16u;

@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;            // the copy of what is added: wgsl/copy/f32.wgsl
@group(0) @binding(9) var<storage, read> residual: array<vec4<f32>>;     // [COLS]
@group(0) @binding(10) var<storage, read> norm_weight: array<vec4<f32>>; // [COLS], of the norm of the sum; or anything
@group(0) @binding(11) var<storage, read_write> summed: array<vec4<f32>>; // [COLS], or anything
@group(0) @binding(12) var<storage, read> sum_factor: array<f32>;        // one number, or anything

var<workgroup> block_squares: array<f32, BLOCKS>;

// This lane's part of the sum of the squares of what is added, asked for under no condition (wgsl/input/i8.wgsl).
fn squares_added(at: Invocation) -> f32 {
    let fours = (BLOCKS + 3u) / 4u;
    var squares = vec4<f32>();
    for (var n = 0u; n < (fours + lanes_of(at) - 1u) / lanes_of(at); n++) {
        let i = n * lanes_of(at) + lane_of(at);
        let behind = vec4<u32>(0u, 1u, 2u, 3u) + 4u * i >= vec4<u32>(BLOCKS);
        squares += select(x[4u * BLOCKS + min(i, fours - 1u)], vec4<f32>(), behind);
    }
    return squares.x + squares.y + squares.z + squares.w;
}

fn weight_of(four: u32) -> vec4<f32> {
    if (NORM == 1u) {
        return norm_weight[four];
    }
    return vec4<f32>(1.0);
}

// Makes the row; all invocations of the workgroup, one of GROUPS, call it together. Four numbers are one invocation's, and four neighbours have a block; the
// first of them are asked for before the squares are, whose way is then the same.
fn prepare_x(group: u32, at: Invocation) {
    let first = subgroup_of(at) * lanes_of(at) + lane_of(at);
    let first_own = min(first, 4u * BLOCKS - 1u);
    var added = x[first_own];
    var rest = residual[first_own];
    var weights = weight_of(first_own);
    var factor_of_sum = 1.0;
    if (SUM_SCALED == 1u) {
        factor_of_sum = sum_factor[0];
    }
    let scale = 1.0 / sqrt(subgroup_sum(squares_added(at), at) / f32(COLS) + SUM_EPS);
    for (var turn = 0u; turn < (4u * BLOCKS + WORKGROUP - 1u) / WORKGROUP; turn++) {
        let four = turn * WORKGROUP + first;
        let valid = four < 4u * BLOCKS;
        let own = min(four, 4u * BLOCKS - 1u);
        if (turn > 0u) {
            added = x[own];
            rest = residual[own];
            weights = weight_of(own);
        }
        let sum = factor_of_sum * (rest + scale * added);
        if (KEPT == 1u && valid && four / 4u % GROUPS == group) {
            summed[four] = sum;
        }
        let squares = sum_of_block(vec4<f32>(dot(sum, sum)), at).x;
        if (valid && four % 4u == 0u) {
            block_squares[four / 4u] = squares;
        }
        put_four(four, sum * weights, valid, at);
    }
    workgroupBarrier();
}

// Over four neighbours.
fn sum_of_block(value: vec4<f32>, at: Invocation) -> vec4<f32> {
    let two = value + from_lane(value, 1u, at);
    return two + from_lane(two, 2u, at);
}

// This lane's part of the sum of the squares of the sum.
fn input_squares(r: u32, alone: bool, at: Invocation) -> f32 {
    var squares = 0.0;
    if (NORM == 1u) {
        for (var b = lane_of(at); b < BLOCKS; b += lanes_of(at)) {
            squares += block_squares[b];
        }
    }
    return squares;
}
