//! How tokens are chosen, and when that ends: what was asked for, what the model's makers recommend, and what happens otherwise.

use clap::Args;
use wgllm_engine::recommended::Recommended;
use wgllm_engine::sampler::Sampling;
use wgllm_engine::tokenizer::Tokenizer;

use super::args;

/// The flags. What is absent is for the model's makers to say.
#[derive(Args, Clone)]
#[command(next_help_heading = "Sampling")]
pub struct SamplingFlags {
    /// Temperature; 0 and below take the most likely token [default: the model file's; else 0.8, 0.7 for the carried model]
    #[arg(long, visible_alias = "temperature", env = "WGLLM_TEMP", hide_env = true, value_name = "T", value_parser = args::temperature)]
    temp: Option<f32>,
    /// Choose among this many of the likeliest tokens; 0 and below are all [default: the model file's, else 40]
    #[arg(long, env = "WGLLM_TOP_K", hide_env = true, value_name = "K", value_parser = args::ranks)]
    top_k: Option<u32>,
    /// Choose among the likeliest tokens that have this share of the probability together [default: the model file's, else 0.95]
    #[arg(long, env = "WGLLM_TOP_P", hide_env = true, value_name = "P", value_parser = args::share)]
    top_p: Option<f32>,
    /// Choose among tokens of this probability at least, in terms of the likeliest [default: the model file's, else 0.05]
    #[arg(long, env = "WGLLM_MIN_P", hide_env = true, value_name = "P", value_parser = args::share)]
    min_p: Option<f32>,
    /// Make recent tokens less likely by this factor; 1 is off [default: the model file's, else 1]
    #[arg(long, env = "WGLLM_REPEAT_PENALTY", hide_env = true, value_name = "X", value_parser = args::positive)]
    repeat_penalty: Option<f32>,
    /// How many tokens are recent; -1 is all of the context [default: the model file's, else 64]
    #[arg(long, env = "WGLLM_REPEAT_LAST_N", hide_env = true, value_name = "N", value_parser = clap::value_parser!(i32).range(-1..))]
    repeat_last_n: Option<i32>,
    /// Seed: the same one gives the same text on the same device; -1 takes a random one
    #[arg(short, long, env = "WGLLM_SEED", hide_env = true, value_name = "N", default_value_t = -1, value_parser = clap::value_parser!(i64).range(-1..))]
    seed: i64,
}

/// When an answer ends.
#[derive(Args, Clone)]
#[command(next_help_heading = "Sampling")]
pub struct EndFlags {
    /// End before this text, whatever it begins with; may be given several times
    #[arg(
        short = 'r',
        long = "stop",
        visible_alias = "reverse-prompt",
        value_name = "TEXT",
        allow_hyphen_values = true
    )]
    pub stop: Vec<String>,
    /// Make the model's end tokens impossible, so that it goes on to the limit
    #[arg(long)]
    ignore_eos: bool,
}

impl EndFlags {
    /// The tokens that may not come.
    pub fn banned(&self, tokenizer: Option<&Tokenizer>) -> Vec<u32> {
        let ends = tokenizer.filter(|_| self.ignore_eos).map(Tokenizer::end_tokens);
        ends.into_iter().flatten().copied().collect()
    }
}

impl SamplingFlags {
    /// How tokens are chosen in a context of so many positions. A seed that is not given is `random`.
    pub fn sampling(
        &self,
        recommended: &Recommended,
        temperature: f32,
        context: usize,
        random: u64,
    ) -> Sampling {
        let otherwise = Sampling::default();
        let context = u32::try_from(context).unwrap_or(u32::MAX);
        let window = self.repeat_last_n.or(recommended.repeat_last_n);
        let window = window.map_or(otherwise.repeat_last_n, |n| u32::try_from(n).unwrap_or(u32::MAX));
        Sampling {
            temperature: self.temp.or(recommended.temperature).unwrap_or(temperature),
            top_k: self.top_k.or(recommended.top_k).unwrap_or(otherwise.top_k),
            top_p: self.top_p.or(recommended.top_p).unwrap_or(otherwise.top_p),
            min_p: self.min_p.or(recommended.min_p).unwrap_or(otherwise.min_p),
            repeat_penalty: self
                .repeat_penalty
                .or(recommended.repeat_penalty)
                .unwrap_or(otherwise.repeat_penalty),
            // There are never more recent tokens than positions.
            repeat_last_n: window.min(context),
            seed: self.seed().unwrap_or(random),
            ..otherwise
        }
    }

    /// The seed that was given.
    pub fn seed(&self) -> Option<u64> {
        u64::try_from(self.seed).ok()
    }

    /// The value of a flag that nobody gave, and whose word it is.
    pub fn otherwise(
        recommended: &Recommended,
        temperature: f32,
        name: &str,
    ) -> Option<(String, &'static str)> {
        let default = Sampling::default();
        let said = |said: Option<String>, otherwise: String| match said {
            Some(value) => (value, "model file"),
            None => (otherwise, "default"),
        };
        let number = |value: Option<f32>, otherwise: f32| {
            said(value.map(|value| value.to_string()), otherwise.to_string())
        };
        Some(match name {
            "temp" => number(recommended.temperature, temperature),
            "top-k" => said(recommended.top_k.map(|k| k.to_string()), default.top_k.to_string()),
            "top-p" => number(recommended.top_p, default.top_p),
            "min-p" => number(recommended.min_p, default.min_p),
            "repeat-penalty" => number(recommended.repeat_penalty, default.repeat_penalty),
            "repeat-last-n" => {
                said(recommended.repeat_last_n.map(|n| n.to_string()), default.repeat_last_n.to_string())
            }
            _ => return None,
        })
    }
}

/// Short enough to be typed again.
pub fn random_seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish() >> 32
}

#[cfg(test)]
mod tests {
    use clap::{Command, FromArgMatches};

    use super::*;

    fn flags(args: &[&str]) -> SamplingFlags {
        let command = SamplingFlags::augment_args(Command::new("x").no_binary_name(true));
        let matches =
            command.mut_args(|arg| arg.env(clap::builder::Resettable::<clap::builder::OsStr>::Reset));
        SamplingFlags::from_arg_matches(&matches.get_matches_from(args)).expect("they are flags")
    }

    #[test]
    fn a_flag_wins_over_the_model_file_and_that_over_the_default() {
        let recommended = Recommended {
            temperature: Some(0.6),
            top_k: Some(20),
            repeat_last_n: Some(-1),
            ..Recommended::default()
        };
        let typed = flags(&["--top-k", "7", "--min-p", "0.5"]);
        let found = typed.sampling(&recommended, 0.7, 512, 11);
        let expected = Sampling {
            temperature: 0.6,
            top_k: 7,
            min_p: 0.5,
            repeat_last_n: 512,
            seed: 11,
            ..Sampling::default()
        };
        assert_eq!(found, expected);
        let silent = flags(&["-s", "3"]).sampling(&Recommended::default(), 0.7, 512, 11);
        assert_eq!(silent, Sampling { temperature: 0.7, seed: 3, ..Sampling::default() });
        let said = |name| SamplingFlags::otherwise(&recommended, 0.7, name);
        assert_eq!(said("top-k"), Some(("20".into(), "model file")));
        assert_eq!(said("min-p"), Some(("0.05".into(), "default")));
        assert_eq!(said("model"), None);
    }
}
