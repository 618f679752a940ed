//! How a model's makers want its tokens to be chosen: what a file's `general.sampling.*` says.

use crate::gguf::Metadata;
use crate::sampler::Sampling;

/// What a file recommends; what it is silent about is absent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recommended {
    /// `general.sampling.temp`
    pub temperature: Option<f32>,
    /// `general.sampling.top_k`
    pub top_k: Option<u32>,
    /// `general.sampling.top_p`
    pub top_p: Option<f32>,
    /// `general.sampling.min_p`
    pub min_p: Option<f32>,
    /// `general.sampling.penalty_repeat`
    pub repeat_penalty: Option<f32>,
    /// `general.sampling.penalty_last_n`; -1 is all of the context
    pub repeat_last_n: Option<i32>,
    /// What is recommended and makes no sense, and so is not followed, for the person who runs it.
    pub warnings: Vec<String>,
}

impl Recommended {
    /// Reads a file's metadata.
    pub fn from_metadata(meta: &Metadata) -> Recommended {
        let mut warnings = Vec::new();
        let mut number = |name: &str, good: &dyn Fn(f64) -> bool| {
            let key = format!("general.sampling.{name}");
            let value = meta.get(&key)?;
            let number = value.float().map(f64::from).or(value.integer().map(|n| n as f64));
            if let Some(n) = number.filter(|&n| good(n)) {
                return Some(n);
            }
            let found = number.map_or_else(|| value.type_name(), |n| n.to_string());
            warnings.push(format!("{key} is {found}, which is not followed"));
            None
        };
        let sensible = |sampling: Sampling| sampling.check().is_ok();
        let whole = |n: f64, most: f64| n.fract() == 0.0 && (-1.0..=most).contains(&n);
        let temperature =
            number("temp", &|n| sensible(Sampling { temperature: n as f32, ..Sampling::default() }));
        let top_k = number("top_k", &|n| whole(n, u32::MAX.into()));
        let top_p = number("top_p", &|n| sensible(Sampling { top_p: n as f32, ..Sampling::default() }));
        let min_p = number("min_p", &|n| sensible(Sampling { min_p: n as f32, ..Sampling::default() }));
        let repeat_penalty = number("penalty_repeat", &|n| {
            sensible(Sampling { repeat_penalty: n as f32, ..Sampling::default() })
        });
        let repeat_last_n = number("penalty_last_n", &|n| whole(n, i32::MAX.into()));
        Recommended {
            temperature: temperature.map(|n| n as f32),
            top_k: top_k.map(|n| n.max(0.0) as u32),
            top_p: top_p.map(|n| n as f32),
            min_p: min_p.map(|n| n as f32),
            repeat_penalty: repeat_penalty.map(|n| n as f32),
            repeat_last_n: repeat_last_n.map(|n| n as i32),
            warnings,
        }
    }
}
