// What a matvec multiplies where that is a sum of which no dispatch before it made more than the parts: a residual, and a value that is normalised
// first; maybe times a number. Each workgroup makes the one row for itself, in workgroup memory, and one of them keeps each part of it for who adds to it next.
//
// The input says how a block of 16 numbers is kept: put_block(b, fours).

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

// Makes the row; all invocations of the workgroup, one of GROUPS, call it together. A block is one invocation's; the first of them is asked for
// before the squares are, whose way is then the same.
fn prepare_x(group: u32, at: Invocation) {
    let own = 4u * min(at.local, BLOCKS - 1u);
    var added = array<vec4<f32>, 4>(x[own], x[own + 1u], x[own + 2u], x[own + 3u]);
    var fours = array<vec4<f32>, 4>(residual[own], residual[own + 1u], residual[own + 2u], residual[own + 3u]);
    var weights = array<vec4<f32>, 4>(weight_of(own), weight_of(own + 1u), weight_of(own + 2u), weight_of(own + 3u));
    var factor_of_sum = 1.0;
    if (SUM_SCALED == 1u) {
        factor_of_sum = sum_factor[0];
    }
    let scale = 1.0 / sqrt(subgroup_sum(squares_added(at), at) / f32(COLS) + SUM_EPS);
    for (var b = at.local; b < BLOCKS; b += WORKGROUP) {
        let keeps = KEPT == 1u && b % GROUPS == group;
        var squares = vec4<f32>();
        for (var k = 0u; k < 4u; k++) {
            if (b >= WORKGROUP) {
                added[k] = x[4u * b + k];
                fours[k] = residual[4u * b + k];
                weights[k] = weight_of(4u * b + k);
            }
            let sum = factor_of_sum * (fours[k] + scale * added[k]);
            if (keeps) {
                summed[4u * b + k] = sum;
            }
            squares += sum * sum;
            fours[k] = sum * weights[k];
        }
        block_squares[b] = squares.x + squares.y + squares.z + squares.w;
        put_block(b, fours);
    }
    workgroupBarrier();
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
