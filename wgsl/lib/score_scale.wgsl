// The factor of a row's scores, which may grow with its position: SCALE · (1 + GROWTH · ln(1 + ⌊(position + GROWTH_AHEAD) / GROWTH_LENGTH⌋)).

override SCALE: f32 = 1.0;
override GROWTH: f32 = 0.0;
override GROWTH_LENGTH: u32 = 1u;
override GROWTH_AHEAD: u32 = 0u;

fn score_scale(position: u32) -> f32 {
    if (GROWTH == 0.0) {
        return SCALE;
    }
    return SCALE * (1.0 + GROWTH * log(1.0 + f32((position + GROWTH_AHEAD) / GROWTH_LENGTH)));
}
