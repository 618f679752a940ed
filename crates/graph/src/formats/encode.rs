//! What encoders share: a block at a time, and the search for scales that lose little.
//!
//! The searches are those of ggml-quants.c (`make_qx_quants`, `make_qkx2_quants`): a scale is tried in steps around the one that just
//! reaches the furthest weight; with the small integers that it gives, the scale that then fits best is known in closed form, and
//! the best of all is kept.

/// Encodes weights block by block. Panics unless `weights` and `blocks` are equally many blocks.
pub(super) fn each_block<const BYTES: usize, const WEIGHTS: usize>(
    weights: &[f32],
    blocks: &mut [u8],
    encode: impl Fn(&[f32; WEIGHTS], &mut [u8; BYTES]),
) {
    let (weights, rest) = weights.as_chunks();
    let (blocks, bytes) = blocks.as_chunks_mut();
    assert!(
        rest.is_empty() && bytes.is_empty() && weights.len() == blocks.len(),
        "weights and bytes are not equally many blocks"
    );
    for (weights, block) in weights.iter().zip(blocks) {
        encode(weights, block);
    }
}

/// The weight furthest from 0, with its sign; of several the first.
pub(super) fn furthest(weights: &[f32]) -> f32 {
    let mut furthest = 0.0f32;
    for &w in weights {
        if furthest.abs() < w.abs() {
            furthest = w;
        }
    }
    furthest
}

/// 1 / d; 0 for 0.
pub(super) fn inverse(d: f32) -> f32 {
    if d == 0.0 { 0.0 } else { 1.0 / d }
}

/// Writes `value` as an f16 at `at`, and returns what it then is.
pub(super) fn put_f16(block: &mut [u8], at: usize, value: f32) -> f32 {
    let half = half::f16::from_f32(value);
    block[at..at + 2].copy_from_slice(&half.to_le_bytes());
    half.to_f32()
}

/// The whole number next to `x`, of two the even one, between `least` and `most`.
pub(super) fn nearest(x: f32, least: i32, most: i32) -> i32 {
    // A number that is none becomes 0.
    (x.round_ties_even() as i32).clamp(least, most)
}

/// Scales below this are those of weights that are all 0.
pub(super) const LEAST_SCALE: f32 = 1e-15;

/// The scale `d` for which `w ≈ d · q` with the `q` of `-reach` to `reach - 1` that are returned, `reach` added, errors weighed by w².
pub(super) fn scale_of<const N: usize>(weights: &[f32; N], reach: i32) -> (f32, [u8; N]) {
    let furthest = furthest(weights);
    if furthest.abs() < LEAST_SCALE {
        return (0.0, [0; N]);
    }
    // With the integers that `inverse` gives: Σ w²·w·q and Σ w²·q².
    let sums = |inverse: f32| {
        let (mut with, mut of) = (0.0f32, 0.0f32);
        for &w in weights {
            let q = nearest(inverse * w, -reach, reach - 1) as f32;
            let importance = w * w;
            with += importance * w * q;
            of += importance * q * q;
        }
        (with, of)
    };
    let mut inverse = -(reach as f32) / furthest;
    let (with, of) = sums(inverse);
    let mut scale = if of > 0.0 { with / of } else { 0.0 };
    let mut best = scale * with;
    for step in (-9..=9).filter(|&step| step != 0) {
        let this = -(reach as f32 + 0.1 * step as f32) / furthest;
        let (with, of) = sums(this);
        if of > 0.0 && with * with > best * of {
            scale = with / of;
            (best, inverse) = (scale * with, this);
        }
    }
    (scale, weights.map(|w| (nearest(inverse * w, -reach, reach - 1) + reach) as u8))
}

/// Where [`affine`] looks for scales: from `first` on, in so many steps of 0.1.
pub(super) struct Steps {
    pub first: f32,
    pub count: usize,
}

/// A scale and a minimum, neither below 0, for which `w ≈ scale · q − minimum` with the `q` of 0 to `most` that are returned, errors weighed by
/// `importance`.
pub(super) fn affine<const N: usize>(
    weights: &[f32; N],
    importance: &[f32; N],
    most: i32,
    steps: &Steps,
) -> (f32, f32, [u8; N]) {
    let (mut low, mut high) = (weights[0], weights[0]);
    let (mut sum, mut sum_w) = (importance[0], importance[0] * weights[0]);
    for i in 1..N {
        low = low.min(weights[i]);
        high = high.max(weights[i]);
        sum += importance[i];
        sum_w += importance[i] * weights[i];
    }
    let low = low.min(0.0);
    if high == low {
        return (0.0, -low, [0; N]);
    }
    let quants = |inverse: f32, offset: f32| weights.map(|w| nearest(inverse * (w - offset), 0, most) as u8);
    let error = |scale: f32, offset: f32, q: &[u8; N]| {
        let mut error = 0.0f32;
        for i in 0..N {
            let difference = scale * f32::from(q[i]) + offset - weights[i];
            error += importance[i] * (difference * difference);
        }
        error
    };
    let inverse = most as f32 / (high - low);
    let (mut scale, mut offset, mut best_q) = (1.0 / inverse, low, quants(inverse, low));
    let mut best = error(scale, offset, &best_q);
    for step in 0..=steps.count {
        // From the best offset so far, as ggml does.
        let q = quants((steps.first + 0.1 * step as f32 + most as f32) / (high - offset), offset);
        let (mut sum_q, mut sum_qq, mut sum_wq) = (0.0f32, 0.0f32, 0.0f32);
        for i in 0..N {
            let l = f32::from(q[i]);
            sum_q += importance[i] * l;
            sum_qq += importance[i] * l * l;
            sum_wq += importance[i] * l * weights[i];
        }
        let determinant = sum * sum_qq - sum_q * sum_q;
        if determinant > 0.0 {
            let mut this_scale = (sum * sum_wq - sum_w * sum_q) / determinant;
            let mut this_offset = (sum_qq * sum_w - sum_q * sum_wq) / determinant;
            if this_offset > 0.0 {
                this_offset = 0.0;
                this_scale = sum_wq / sum_qq;
            }
            let this = error(this_scale, this_offset, &q);
            if this < best {
                (best, scale, offset, best_q) = (this, this_scale, this_offset, q);
            }
        }
    }
    (scale, -offset, best_q)
}
