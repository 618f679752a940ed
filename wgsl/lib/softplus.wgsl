// ln(1 + eˣ), by a series where eˣ is small: 1 + eˣ would forget most of it.
fn softplus(x: f32) -> f32 {
    let e = exp(min(x, 20.0));
    let series = e * (1.0 - e * (0.5 - e * (0.33333334 - e * 0.25)));
    return select(select(log(1.0 + e), series, e < 0.02), x, x > 20.0);
}
