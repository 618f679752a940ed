// An output with a number of y for each sum: y[r, FIRST_OUT + n] = value_of(sum[n]), and the copy of y for what reads it next. What is added to a sum is
// asked for before the weights are. The output says how: ahead_of(r, n), value_of(sum), FIRST_OUT.

override OUT_STRIDE: u32 = 64u;   // from a row of y to the next

@group(0) @binding(2) var<storage, read_write> y: array<f32>;         // [rows, OUT_STRIDE]

var<private> ahead: f32; // what is added

fn begin(r: u32, first_pair: u32, nth: u32) {
    let n = 2u * first_pair + nth;
    ahead = 0.0;
    if (nth < 2u * PAIRS && n < N) {
        ahead = ahead_of(r, n);
        begin_copy(n);
    }
}

fn finish(r: u32, first_pair: u32, nth: u32, local: u32) {
    let n = 2u * first_pair + nth;
    let valid = nth < 2u * PAIRS && n < N;
    var value = 0.0;
    if (valid) {
        value = value_of(sums_of(nth / 2u)[nth % 2u]);
        y[r * OUT_STRIDE + FIRST_OUT + n] = value;
    }
    emit_copy(r, n, value, valid, local);
}
