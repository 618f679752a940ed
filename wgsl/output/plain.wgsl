// The sums as they are, and a bias: y[r, n] = sum[n] (+ bias[n]).

override FIRST_OUT: u32 = 0u;     // where the result goes in a row of y
override OUT_STRIDE: u32 = 64u;
override BIAS: u32 = 0u;

@group(0) @binding(2) var<storage, read_write> y: array<f32>;         // [rows, OUT_STRIDE]
@group(0) @binding(3) var<storage, read> bias: array<f32>;            // or anything

fn begin(r: u32, first_pair: u32, local: u32) {
}

fn finish(r: u32, first_pair: u32, local: u32) {
    for (var i = local; i < 2u * PAIRS; i += WORKGROUP) {
        let n = 2u * first_pair + i;
        if (n < N) {
            var sum = sums_of(i / 2u)[i % 2u] * scale();
            if (BIAS != 0u) {
                sum += bias[FIRST_OUT + n];
            }
            y[r * OUT_STRIDE + FIRST_OUT + n] = sum;
        }
    }
}
