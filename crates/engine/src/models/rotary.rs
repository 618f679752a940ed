//! Rotary positions as a file's keys describe them: base, width, and how positions beyond the first training are scaled.

use crate::error::{Error, Result};
use crate::models::page::Page;
use crate::ops::{Pairing, RopeShape, Yarn};

/// Turns within the original context from which on YaRN keeps a frequency, and below which it scales it, as published.
const YARN_FAST: f32 = 32.0;
const YARN_SLOW: f32 = 1.0;

/// The rotary positions of heads of `head_dim`.
pub fn read(p: &Page<'_>, head_dim: usize, pairing: Pairing) -> Result<RopeShape> {
    let keys = &p.w.keys;
    let rotary = keys.count_or_none("rope.dimension_count")?.unwrap_or(head_dim);
    if rotary > head_dim || !rotary.is_multiple_of(2) {
        let name = keys.name("rope.dimension_count");
        return Err(Error::Model(format!("{name} is {rotary} for heads of {head_dim}")));
    }
    let base = keys.positive_or_none("rope.freq_base")?.unwrap_or(10000.0);
    let magnitude = keys.positive_or_none("rope.scaling.attn_factor")?.unwrap_or(1.0);
    scaled(p, RopeShape { rotary, magnitude, ..RopeShape::new(head_dim, base, pairing) })
}

/// The same positions in layers with a window, for which a file may have a base of its own.
pub fn of_windows(p: &Page<'_>, rope: RopeShape) -> Result<RopeShape> {
    let base = p.w.keys.positive_or_none("rope.freq_base_swa")?.unwrap_or(rope.base);
    Ok(RopeShape { base, ..rope })
}

/// The same positions under the file's kind of scaling; a kind that is not known is refused by name.
fn scaled(p: &Page<'_>, rope: RopeShape) -> Result<RopeShape> {
    let keys = &p.w.keys;
    let kind = keys.word("rope.scaling.type")?.unwrap_or("linear");
    let factor = match keys.number("rope.scaling.factor")? {
        Some(factor) => factor,
        None => keys.number("rope.scale_linear")?.unwrap_or(0.0),
    };
    if factor < 0.0 {
        return Err(Error::Model(format!("{} is {factor}", keys.name("rope.scaling.factor"))));
    }
    // 0 is how converters write that there is none.
    let factor = if factor == 0.0 { 1.0 } else { factor };
    match kind {
        "none" => Ok(rope),
        "linear" => Ok(RopeShape { scale: 1.0 / factor, ..rope }),
        "yarn" => {
            let original = keys.count("rope.scaling.original_context_length")? as u32;
            let fast = keys.positive_or_none("rope.scaling.yarn_beta_fast")?.unwrap_or(YARN_FAST);
            let slow = keys.positive_or_none("rope.scaling.yarn_beta_slow")?.unwrap_or(YARN_SLOW);
            let multiplier = keys.number("rope.scaling.yarn_log_multiplier")?.unwrap_or(0.0);
            let magnitude = match keys.positive_or_none("rope.scaling.yarn_attn_factor")? {
                Some(magnitude) => magnitude,
                None => yarn_magnitude(factor, 1.0) / yarn_magnitude(factor, multiplier),
            };
            let yarn = Some(Yarn { original, fast, slow });
            Ok(RopeShape { scale: 1.0 / factor, magnitude: rope.magnitude * magnitude, yarn, ..rope })
        }
        other => {
            let name = keys.name("rope.scaling.type");
            Err(Error::Model(format!("{name} is {other:?}, known are none, linear and yarn")))
        }
    }
}

/// By how much YaRN lengthens rotated vectors: 0.1 · multiplier · ln(factor) + 1.
fn yarn_magnitude(factor: f32, multiplier: f32) -> f32 {
    if factor <= 1.0 { 1.0 } else { 0.1 * multiplier * factor.ln() + 1.0 }
}
