// Matrix units whose matrices are 16 × 16: f16 times f16, summed up in f32. What they read lies in workgroup memory.
//
// The kernel declares TILE_FOURS and STAGE_FOURS. Places in both and strides there are counted in vectors of four.
enable f16;
enable wgpu_cooperative_matrix;

const SIZE: u32 = 16u;

alias Left = coop_mat16x16<f16, A>;
alias Right = coop_mat16x16<f16, B>;
alias Sums = coop_mat16x16<f32, C>;

// Eight numbers, as the kernel's inputs hold them.
struct Eight {
    low: vec4<f16>,
    high: vec4<f16>,
}

var<workgroup> tile: array<vec4<f16>, TILE_FOURS>;
var<workgroup> stage: array<vec4<f32>, STAGE_FOURS>;

fn matrix_begin(local: u32) {}

fn tile_put(at: u32, v: vec4<f32>) {
    tile[at] = vec4<f16>(v);
}

fn tile_put_eight(at: u32, v: Eight) {
    tile[at] = v.low;
    tile[at + 1u] = v.high;
}

// Rows of the left factor follow each other `stride` apart.
fn load_left(at: u32, stride: u32) -> Left {
    return coopLoadT<Left>(&tile[at], stride);
}

// Columns of the right factor do.
fn load_right(at: u32, stride: u32) -> Right {
    return coopLoad<Right>(&tile[at], stride);
}

// Rows of the right factor do.
fn load_right_rows(at: u32, stride: u32) -> Right {
    return coopLoadT<Right>(&tile[at], stride);
}

fn multiply_add(a: Left, b: Right, c: Sums) -> Sums {
    return coopMultiplyAdd(a, b, c);
}

// Rows of sums follow each other `stride` apart.
fn stage_sums(c: Sums, at: u32, stride: u32) {
    coopStoreT(c, &stage[at], stride);
}

fn load_sums(at: u32, stride: u32) -> Sums {
    return coopLoadT<Sums>(&stage[at], stride);
}

fn staged(at: u32) -> vec4<f32> {
    return stage[at];
}

fn staged_number(at: u32) -> f32 {
    return stage[at / 4u][at % 4u];
}

fn stage_put(at: u32, v: vec4<f32>) {
    stage[at] = v;
}
