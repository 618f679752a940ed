//! The hyper-parameters of a file: keys below the architecture's name, each checked as a page asks for it.
//!
//! A key that no page asks for cannot change the result and is not looked at, whatever it holds; but one that is known to change what
//! *some* architecture computes is refused by name where nobody asked for it and it says something.

use std::cell::RefCell;
use std::collections::HashSet;

use crate::error::{Error, Result};
use crate::gguf::{Gguf, Value};

/// No dimension of a known model comes near this; what does is a damaged file.
pub const LARGEST: u32 = 1 << 24;

/// Which layers have a model's window.
pub struct Windowed {
    said: Option<Vec<bool>>,
    /// Of so many layers the last has none; 0: all have it.
    period: usize,
}

impl Windowed {
    /// Whether a layer has it.
    pub fn holds(&self, layer: usize) -> bool {
        match &self.said {
            Some(said) => said[layer],
            None => self.period == 0 || layer % self.period != self.period - 1,
        }
    }
}

/// Keys that change what some architecture computes, with the numbers that say nothing; a bool is 0 or 1, of strings only "none" says
/// nothing.
const CHANGES: &[(&str, &[f64])] = &[
    ("attention.causal", &[1.0]),
    ("attention.chunk_size", &[0.0]),
    ("attention.clamp_kqv", &[0.0]),
    ("attention.kv_lora_rank", &[0.0]),
    ("attention.max_alibi_bias", &[0.0]),
    ("attention.output_scale", &[0.0, 1.0]),
    ("attention.q_lora_rank", &[0.0]),
    ("attention.scale", &[0.0]),
    ("attention.shared_kv_layers", &[0.0]),
    ("attention.sliding_window", &[0.0]),
    ("attention.temperature_scale", &[0.0]),
    ("attn_logit_softcapping", &[0.0]),
    ("embedding_length_per_layer_input", &[0.0]),
    ("embedding_scale", &[0.0, 1.0]),
    ("expert_count", &[0.0]),
    ("final_logit_softcapping", &[0.0]),
    ("logit_scale", &[0.0, 1.0]),
    ("residual_scale", &[0.0, 1.0]),
    ("rope.scale_linear", &[0.0, 1.0]),
    ("rope.scaling.attn_factor", &[1.0]),
    ("rope.scaling.factor", &[0.0, 1.0]),
    ("rope.scaling.type", &[]),
    ("rope.scaling.yarn_attn_factor", &[1.0]),
    ("rope.scaling.yarn_log_multiplier", &[0.0]),
    ("router_logit_softcapping", &[0.0]),
    ("use_parallel_residual", &[0.0]),
];

/// The keys of a file's architecture.
pub struct Keys<'a> {
    file: &'a Gguf,
    architecture: &'static str,
    asked: RefCell<HashSet<&'static str>>,
}

impl<'a> Keys<'a> {
    /// The keys below `architecture`.
    pub fn new(file: &'a Gguf, architecture: &'static str) -> Keys<'a> {
        Keys { file, architecture, asked: RefCell::default() }
    }

    /// A key with the architecture in front: its name in messages.
    pub fn name(&self, key: &str) -> String {
        format!("{}.{key}", self.architecture)
    }

    fn ask(&self, key: &'static str) -> String {
        self.asked.borrow_mut().insert(key);
        self.name(key)
    }

    fn missing(&self, key: &str) -> Error {
        Error::Model(format!("key {} is missing", self.name(key)))
    }

    /// The model's blocks. A file may have others behind them that guess further tokens (`nextn`), which no graph here is made of.
    pub fn blocks(&self) -> Result<usize> {
        let (all, behind) = (self.count("block_count")?, self.blocks_behind()?);
        match all > behind {
            true => Ok(all - behind),
            false => {
                let (name, all_name) = (self.name("nextn_predict_layers"), self.name("block_count"));
                Err(Error::Model(format!("key {name} is {behind}, and {all_name} {all}")))
            }
        }
    }

    /// How many blocks guess further tokens.
    pub fn blocks_behind(&self) -> Result<usize> {
        self.count_or_zero("nextn_predict_layers")
    }

    /// A size or a number of things that must be there and at least 1.
    pub fn count(&self, key: &'static str) -> Result<usize> {
        self.count_or_none(key)?.ok_or_else(|| self.missing(key))
    }

    /// The same, which may be missing. A list of numbers, one for each layer, is accepted where all are the same; an empty one
    /// says nothing.
    pub fn count_or_none(&self, key: &'static str) -> Result<Option<usize>> {
        let name = self.ask(key);
        let value = match self.file.metadata().get(&name) {
            Some(Value::Array(_)) => match self.file.metadata().u32s(&name)?.as_deref() {
                Some([first, rest @ ..]) if rest.iter().all(|v| v == first) => Some(*first),
                Some([]) | None => None,
                _ => {
                    let what = format!("key {name} differs between layers, which is not known here");
                    return Err(Error::Model(what));
                }
            },
            _ => self.file.metadata().u32(&name)?,
        };
        match value {
            Some(v) if v == 0 || v > LARGEST => {
                Err(Error::Model(format!("key {name} is {v}, expected 1 to {LARGEST}")))
            }
            v => Ok(v.map(|v| v as usize)),
        }
    }

    /// A number of things in each of `layers` layers, which may be none; one number is that of all.
    pub fn counts(&self, key: &'static str, layers: usize) -> Result<Vec<usize>> {
        let name = self.ask(key);
        let counts = match self.file.metadata().get(&name) {
            Some(Value::Array(_)) => self.file.metadata().u32s(&name)?.unwrap_or_default(),
            _ => vec![self.file.metadata().u32(&name)?.ok_or_else(|| self.missing(key))?; layers],
        };
        if counts.len() < layers {
            let found = counts.len();
            return Err(Error::Model(format!(
                "key {name} has {found} entries, expected one for each of {layers}"
            )));
        }
        match counts.iter().find(|&&n| n > LARGEST) {
            Some(n) => Err(Error::Model(format!("key {name} has a {n}, expected 0 to {LARGEST}"))),
            None => Ok(counts[..layers].iter().map(|&n| n as usize).collect()),
        }
    }

    /// A number of things that may be none: 0 where it is missing.
    pub fn count_or_zero(&self, key: &'static str) -> Result<usize> {
        let name = self.ask(key);
        match self.file.metadata().u32(&name)?.unwrap_or(0) {
            v if v > LARGEST => Err(Error::Model(format!("key {name} is {v}, expected 0 to {LARGEST}"))),
            v => Ok(v as usize),
        }
    }

    /// The same of what every layer has some of.
    pub fn counts_of_some(&self, key: &'static str, layers: usize) -> Result<Vec<usize>> {
        let counts = self.counts(key, layers)?;
        match counts.contains(&0) {
            true => {
                let name = self.name(key);
                Err(Error::Model(format!("key {name} has a 0, expected 1 to {LARGEST}")))
            }
            false => Ok(counts),
        }
    }

    /// A number that may be missing; finite if it is there.
    pub fn number(&self, key: &'static str) -> Result<Option<f32>> {
        let name = self.ask(key);
        match self.file.metadata().f32(&name)? {
            Some(v) if !v.is_finite() => Err(Error::Model(format!("key {name} is {v}"))),
            v => Ok(v),
        }
    }

    /// A number above zero that may be missing.
    pub fn positive_or_none(&self, key: &'static str) -> Result<Option<f32>> {
        match self.number(key)? {
            Some(v) if v <= 0.0 => {
                Err(Error::Model(format!("key {} is {v}, expected more than 0", self.name(key))))
            }
            v => Ok(v),
        }
    }

    /// A number above zero that must be there.
    pub fn positive(&self, key: &'static str) -> Result<f32> {
        self.positive_or_none(key)?.ok_or_else(|| self.missing(key))
    }

    /// A word that may be missing.
    pub fn word(&self, key: &'static str) -> Result<Option<&'a str>> {
        self.file.metadata().str(&self.ask(key))
    }

    /// Yes or no; `missing` where there is no such key.
    pub fn flag(&self, key: &'static str, missing: bool) -> Result<bool> {
        Ok(self.file.metadata().bool(&self.ask(key))?.unwrap_or(missing))
    }

    /// Yes or no for each of `layers` layers, where there is such a list.
    pub fn flags(&self, key: &'static str, layers: usize) -> Result<Option<Vec<bool>>> {
        let name = self.ask(key);
        let Some(Value::Array(array)) = self.file.metadata().get(&name) else { return Ok(None) };
        let flags: Option<Vec<bool>> =
            array.iter().map(|v| if let Value::Bool(b) = v { Some(b) } else { None }).collect();
        match flags {
            Some(flags) if flags.len() >= layers => Ok(Some(flags)),
            Some(flags) => {
                let found = flags.len();
                Err(Error::Model(format!(
                    "key {name} has {found} entries, expected one for each of {layers}"
                )))
            }
            None => {
                let found = Value::Array(array).type_name();
                Err(Error::Model(format!("key {name} is {found}, expected an array of bool")))
            }
        }
    }

    /// Which of `layers` layers have the model's window: a list, or a period of whose layers the last sees all positions; where nothing is said
    /// it is `period`. 0: all have it.
    pub fn windowed(&self, layers: usize, period: usize) -> Result<Windowed> {
        const PATTERN: &str = "attention.sliding_window_pattern";
        let said = self.flags(PATTERN, layers)?;
        let other = if said.is_some() { None } else { self.file.metadata().u32(&self.name(PATTERN))? };
        Ok(Windowed { said, period: other.map_or(period, |period| period as usize) })
    }

    /// The same where windows are of so many positions; 0: there are none.
    pub fn windows_of(&self, positions: usize, layers: usize, period: usize) -> Result<Windowed> {
        match positions {
            0 => Ok(Windowed { said: None, period: 1 }),
            _ => self.windowed(layers, period),
        }
    }

    /// Fails, naming it, if a key that changes what is computed says something and no page asked for it. Keys about rotary positions
    /// change nothing where there are none.
    pub fn all_honoured(&self, rotary: bool) -> Result<()> {
        let asked = self.asked.borrow();
        let open =
            CHANGES.iter().filter(|(key, _)| !asked.contains(key) && (rotary || !key.starts_with("rope.")));
        for &(key, nothing) in open {
            let name = self.name(key);
            let Some(value) = self.file.metadata().get(&name) else { continue };
            let number = match value {
                Value::Bool(b) => Some(b as u32 as f64),
                other => other.integer().map(|n| n as f64).or(other.float().map(f64::from)),
            };
            let silent = value.str() == Some("none") || number.is_some_and(|n| nothing.contains(&n));
            if !silent {
                let architecture = self.architecture;
                let what = format!("key {name} is {value}, which changes what is computed");
                return Err(Error::Model(format!("{what}; it is not known of {architecture} models here")));
            }
        }
        Ok(())
    }
}
