// Matrix units whose matrices are 8 × 8: f16 times f16, summed up in f32. What they read lies in workgroup memory.
//
// The kernel declares TILE_FOURS and STAGE_FOURS. Places in both and strides there are counted in vectors of four, as for the other sizes;
// they are arrays of single numbers all the same, because Metal's loads take no pointers to vectors.
enable f16;
enable wgpu_cooperative_matrix;

const SIZE: u32 = 8u;

alias Left = coop_mat8x8<f16, A>;
alias Right = coop_mat8x8<f16, B>;
alias Sums = coop_mat8x8<f32, C>;

// Eight numbers, as the kernel's inputs hold them.
struct Eight {
    low: vec4<f16>,
    high: vec4<f16>,
}

override TILE_NUMBERS: u32 = 4u * TILE_FOURS;

var<workgroup> tile: array<f16, TILE_NUMBERS>;
override STAGE_NUMBERS: u32 = 4u * STAGE_FOURS;

var<workgroup> stage: array<f32, STAGE_NUMBERS>;

fn matrix_begin(local: u32) {}

fn tile_put(at: u32, v: vec4<f32>) {
    tile_put_halves(at, vec4<f16>(v));
}

fn tile_put_eight(at: u32, v: Eight) {
    tile_put_halves(at, v.low);
    tile_put_halves(at + 1u, v.high);
}

fn tile_put_halves(at: u32, v: vec4<f16>) {
    tile[4u * at] = v.x;
    tile[4u * at + 1u] = v.y;
    tile[4u * at + 2u] = v.z;
    tile[4u * at + 3u] = v.w;
}

// Rows of the left factor follow each other `stride` apart.
fn load_left(at: u32, stride: u32) -> Left {
    let place = 4u * at;
    let numbers = 4u * stride;
    return coopLoadT<Left>(&tile[place], numbers);
}

// Columns of the right factor do.
fn load_right(at: u32, stride: u32) -> Right {
    let place = 4u * at;
    let numbers = 4u * stride;
    return coopLoad<Right>(&tile[place], numbers);
}

// Rows of the right factor do.
fn load_right_rows(at: u32, stride: u32) -> Right {
    let place = 4u * at;
    let numbers = 4u * stride;
    return coopLoadT<Right>(&tile[place], numbers);
}

fn multiply_add(a: Left, b: Right, c: Sums) -> Sums {
    return coopMultiplyAdd(a, b, c);
}

// Rows of sums follow each other `stride` apart.
fn stage_sums(c: Sums, at: u32, stride: u32) {
    let place = 4u * at;
    let numbers = 4u * stride;
    coopStoreT(c, &stage[place], numbers);
}

fn load_sums(at: u32, stride: u32) -> Sums {
    let place = 4u * at;
    let numbers = 4u * stride;
    return coopLoadT<Sums>(&stage[place], numbers);
}

fn staged(at: u32) -> vec4<f32> {
    return vec4<f32>(stage[4u * at], stage[4u * at + 1u], stage[4u * at + 2u], stage[4u * at + 3u]);
}

fn staged_number(at: u32) -> f32 {
    return stage[at];
}

fn stage_put(at: u32, v: vec4<f32>) {
    stage[4u * at] = v.x;
    stage[4u * at + 1u] = v.y;
    stage[4u * at + 2u] = v.z;
    stage[4u * at + 3u] = v.w;
}
