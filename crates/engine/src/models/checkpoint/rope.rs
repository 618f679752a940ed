//! Rotary positions: the keys that follow from `rope_parameters` or `rope_scaling`, and factors of frequencies where GGUF has no key.

use serde_json::json;

use super::Sizes;
use crate::checkpoint::Config;
use crate::error::Result;
use crate::gguf::{Assembly, Value as Key, shown};

/// The part of a head that is turned.
pub(super) fn part(config: &Config, default: f64) -> Result<f64> {
    let newer = match config.object("rope_parameters")? {
        Some(rope) => rope.number("partial_rotary_factor")?,
        None => None,
    };
    Ok(newer.or(config.number("partial_rotary_factor")?).unwrap_or(default))
}

/// Rotary positions: `rope_parameters` of newer files, else `rope_theta` and `rope_scaling`.
pub(super) fn write(
    config: &Config,
    base: f64,
    rotary: u32,
    out: &mut Assembly,
    sizes: &Sizes,
) -> Result<()> {
    let key = |name: &str| format!("{}.rope.{name}", sizes.architecture);
    let parameters = config.object("rope_parameters")?;
    // A kind of layer each, in models with windows.
    let parameters = match &parameters {
        Some(all) => Some(all.object("full_attention")?.unwrap_or_else(|| all.clone())),
        None => None,
    };
    let of_base = parameters.as_ref().map_or(Ok(None), |rope| rope.number("rope_theta"))?;
    let base = of_base.or(config.number("rope_theta")?).unwrap_or(base);
    out.key(&key("freq_base"), Key::F32(base as f32));
    let Some(scaling) = parameters.map_or_else(|| config.object("rope_scaling"), |rope| Ok(Some(rope)))?
    else {
        return Ok(());
    };
    let kind = scaling.word("rope_type")?.or(scaling.word("type")?).unwrap_or("default");
    let need = |name: &str| {
        scaling.number(name)?.ok_or_else(|| scaling.error(format!("{name} of rope_scaling is missing")))
    };
    match kind {
        "default" => {}
        "linear" => {
            out.key(&key("scaling.type"), Key::Str(b"linear"));
            out.key(&key("scaling.factor"), Key::F32(need("factor")? as f32));
        }
        "llama3" => {
            let band = Band {
                factor: need("factor")?,
                low: need("low_freq_factor")?,
                high: need("high_freq_factor")?,
                original: need("original_max_position_embeddings")?,
            };
            out.make("rope_freqs.weight".into(), &llama3_factors(base, rotary, &band));
        }
        "yarn" => {
            for name in ["mscale", "mscale_all_dim"] {
                scaling.only(name, &[])?;
            }
            let original = scaling.count("original_max_position_embeddings")?.unwrap_or(sizes.context);
            // GGUF's YaRN begins and ends at whole frequencies.
            if scaling.get("truncate") == Some(&json!(false)) {
                let band = Band {
                    factor: need("factor")?,
                    low: scaling.number("beta_slow")?.unwrap_or(1.0),
                    high: scaling.number("beta_fast")?.unwrap_or(32.0),
                    original: original as f64,
                };
                let longer = scaling.number("attention_factor")?.unwrap_or(0.1 * band.factor.ln() + 1.0);
                out.key(&key("scaling.attn_factor"), Key::F32(longer as f32));
                out.make("rope_freqs.weight".into(), &yarn_factors(base, rotary, &band));
                return Ok(());
            }
            scaling.only("truncate", &[json!(true)])?;
            out.key(&key("scaling.type"), Key::Str(b"yarn"));
            out.key(&key("scaling.factor"), Key::F32(need("factor")? as f32));
            out.key(&key("scaling.original_context_length"), Key::U32(original));
            for (theirs, gguf) in [
                ("beta_fast", "scaling.yarn_beta_fast"),
                ("beta_slow", "scaling.yarn_beta_slow"),
                ("attention_factor", "scaling.yarn_attn_factor"),
            ] {
                if let Some(number) = scaling.number(theirs)? {
                    out.key(&key(gguf), Key::F32(number as f32));
                }
            }
        }
        "longrope" => {
            let original = config.count("original_max_position_embeddings")?;
            let original = original.or(scaling.count("original_max_position_embeddings")?);
            let original =
                original.ok_or_else(|| config.error("original_max_position_embeddings is missing".into()))?;
            out.key(&key("scaling.original_context_length"), Key::U32(original));
            let grown = scaling.number("factor")?.unwrap_or(sizes.context as f64 / original.max(1) as f64);
            let magnitude = scaling.number("attention_factor")?.unwrap_or(match grown > 1.0 {
                true => (1.0 + grown.ln() / (original as f64).ln()).sqrt(),
                false => 1.0,
            });
            out.key(&key("scaling.attn_factor"), Key::F32(magnitude as f32));
            for (theirs, gguf) in [("short_factor", "short"), ("long_factor", "long")] {
                let factors = scaling.numbers(theirs)?;
                let factors =
                    factors.ok_or_else(|| scaling.error(format!("{theirs} of rope_scaling is missing")))?;
                out.make(format!("rope_factors_{gguf}.weight"), &factors);
            }
        }
        other => {
            let what = format!("rope_scaling is of type \"{}\"", shown(other));
            return Err(config.error(format!("{what}; known are default, linear, llama3, yarn and longrope")));
        }
    }
    Ok(())
}

/// Which frequencies are scaled: those whose number of turns in the original context is below `high`, and wholly below `low`.
struct Band {
    factor: f64,
    low: f64,
    high: f64,
    original: f64,
}

/// What Llama 3.1 divides each frequency by (Llama's `apply_scaling`): short waves by 1, those longer than the original context by the
/// factor, those between by something between.
fn llama3_factors(base: f64, rotary: u32, band: &Band) -> Vec<f32> {
    let factor = |i: u32| {
        let wave = std::f64::consts::TAU * base.powf(2.0 * i as f64 / rotary as f64);
        let turns = band.original / wave;
        let smooth = (turns - band.low) / (band.high - band.low);
        match turns {
            turns if turns > band.high => 1.0,
            turns if turns < band.low => band.factor,
            _ => 1.0 / ((1.0 - smooth) / band.factor + smooth),
        }
    };
    (0..rotary / 2).map(|i| factor(i) as f32).collect()
}

/// What YaRN divides each frequency by: those that turn often within the original context by 1, those that hardly turn by the factor, those
/// between by something between, with bounds that are no whole frequencies.
/// Peng et al. 2023, arXiv 2309.00071
fn yarn_factors(base: f64, rotary: u32, band: &Band) -> Vec<f32> {
    let at = |turns: f64| {
        rotary as f64 * (band.original / (turns * std::f64::consts::TAU)).ln() / (2.0 * base.ln())
    };
    let (low, high) = (at(band.high).max(0.0), at(band.low).min(rotary as f64 - 1.0));
    let factor = |i: u32| {
        let scaled = ((i as f64 - low) / (high - low).max(1e-3)).clamp(0.0, 1.0);
        1.0 / (scaled / band.factor + 1.0 - scaled)
    };
    (0..rotary / 2).map(|i| factor(i) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// gpt-oss: frequencies from 8.09 to 17.40 are between (1 + 1e-7 and 32 otherwise).
    #[test]
    fn yarn_without_whole_bounds() {
        let band = Band { factor: 32.0, low: 1.0, high: 32.0, original: 4096.0 };
        let factors = yarn_factors(150_000.0, 64, &band);
        assert!(factors[..9].iter().all(|&f| f == 1.0), "{factors:?}");
        assert!(factors[18..].iter().all(|&f| (f - 32.0).abs() < 1e-4), "{factors:?}");
        let scaled = (9.0 - 8.092_779) / (17.398_025 - 8.092_779);
        let expected = 1.0 / (scaled / 32.0 + 1.0 - scaled);
        assert!((factors[9] as f64 - expected).abs() < 1e-5, "{} and not {expected}", factors[9]);
    }
}
