// What the weighted sum over a row's experts is added to, if to anything.

override RESIDUAL: u32 = 0u;      // 1: it is added to something

const FIRST_OUT: u32 = 0u;

@group(0) @binding(4) var<storage, read> residual: array<f32>;        // [rows, OUT_STRIDE], or anything

fn residual_of(r: u32, n: u32) -> f32 {
    if (RESIDUAL != 0u) {
        return residual[r * OUT_STRIDE + n];
    }
    return 0.0;
}

fn value_of(sum: f32) -> f32 {
    return sum + ahead;
}
