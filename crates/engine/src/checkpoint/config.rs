//! `config.json`: the hyper-parameters of a checkpoint, each checked as it is asked for.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::error::{Error, Result};
use crate::gguf::shown;

/// A JSON object whose fields are asked for by name.
#[derive(Clone, Debug)]
pub struct Config {
    json: Value,
    path: PathBuf,
}

impl Config {
    /// The object in the file at `path`.
    pub fn new(json: Value, path: PathBuf) -> Config {
        Config { json, path }
    }

    /// What is wrong with the file.
    pub fn error(&self, what: String) -> Error {
        Error::Model(what).in_file(&self.path)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A field; none where it is missing or null.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.json.get(key).filter(|value| !value.is_null())
    }

    /// A field that is an object.
    pub fn object(&self, key: &str) -> Result<Option<Config>> {
        match self.get(key) {
            None => Ok(None),
            Some(value) if value.is_object() => Ok(Some(Config::new(value.clone(), self.path.clone()))),
            Some(value) => Err(self.unexpected(key, value, "an object")),
        }
    }

    /// That a field has another value than may stand there.
    pub fn unexpected(&self, key: &str, value: &Value, expected: &str) -> Error {
        self.error(format!("{key} is {}, expected {expected}", shown(&value.to_string())))
    }

    /// A number of things.
    pub fn count(&self, key: &str) -> Result<Option<u32>> {
        let expected = "a whole number below 2^32";
        self.typed(key, expected, |value| value.as_u64().and_then(|n| n.try_into().ok()))
    }

    /// A number of things that must be there.
    pub fn need_count(&self, key: &str) -> Result<u32> {
        self.count(key)?.ok_or_else(|| self.error(format!("{key} is missing")))
    }

    /// A number.
    pub fn number(&self, key: &str) -> Result<Option<f64>> {
        self.typed(key, "a number", Value::as_f64)
    }

    /// A list of numbers.
    pub fn numbers(&self, key: &str) -> Result<Option<Vec<f32>>> {
        self.typed(key, "a list of numbers", |value| {
            value.as_array()?.iter().map(|n| n.as_f64().map(|n| n as f32)).collect()
        })
    }

    /// A truth; false where it is missing.
    pub fn flag(&self, key: &str) -> Result<bool> {
        Ok(self.typed(key, "true or false", Value::as_bool)?.unwrap_or(false))
    }

    /// A word.
    pub fn word(&self, key: &str) -> Result<Option<&str>> {
        match self.get(key) {
            None => Ok(None),
            Some(value) => value.as_str().map(Some).ok_or_else(|| self.unexpected(key, value, "a text")),
        }
    }

    /// A list of words.
    pub fn words(&self, key: &str) -> Result<Option<Vec<String>>> {
        self.typed(key, "a list of texts", |value| {
            value.as_array()?.iter().map(|word| word.as_str().map(str::to_owned)).collect()
        })
    }

    /// Fails unless a field is missing or says one of these.
    pub fn only(&self, key: &str, allowed: &[Value]) -> Result<()> {
        match self.get(key) {
            Some(value) if !allowed.contains(value) => {
                let known: Vec<String> = allowed.iter().map(Value::to_string).collect();
                let expected = if known.is_empty() { "none".into() } else { known.join(" or ") };
                Err(self.unexpected(
                    key,
                    value,
                    &format!("{expected}: nothing else is known of these models here"),
                ))
            }
            _ => Ok(()),
        }
    }

    fn typed<T>(&self, key: &str, expected: &str, take: impl Fn(&Value) -> Option<T>) -> Result<Option<T>> {
        match self.get(key) {
            None => Ok(None),
            Some(value) => take(value).map(Some).ok_or_else(|| self.unexpected(key, value, expected)),
        }
    }
}
