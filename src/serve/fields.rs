//! The fields of a request's JSON: each is asked for by name, and one that makes no sense is named in the answer.

use std::ops::RangeInclusive;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::{Map, Value};

use super::failure::Failure;

/// The members of an object. `null` is the same as nothing.
#[derive(Clone, Debug)]
pub struct Fields(Map<String, Value>);

impl Fields {
    /// Reads a body of at most `limit` bytes, for which its sender has so much time.
    pub async fn read(
        headers: &HeaderMap,
        body: Body,
        limit: usize,
        time: Duration,
    ) -> Result<Fields, Failure> {
        let length = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
        if length.is_some_and(|length| length > limit as u64) {
            return Err(Failure::too_large(limit));
        }
        let read = tokio::time::timeout(time, Limited::new(body, limit).collect()).await;
        let read = read.map_err(|_| {
            let message = format!("the body did not come within {} s", time.as_secs());
            Failure::timeout(StatusCode::REQUEST_TIMEOUT, message)
        })?;
        match read {
            Ok(body) => Fields::parse(&body.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => Err(Failure::too_large(limit)),
            Err(error) => Err(Failure::request(format!("the body could not be read: {error}"))),
        }
    }

    /// Reads an object.
    pub fn parse(body: &[u8]) -> Result<Fields, Failure> {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Err(Failure::request("the body is empty, expected a JSON object"));
        }
        match serde_json::from_slice(body) {
            Ok(Value::Object(map)) => Ok(Fields(map)),
            Ok(other) => {
                Err(Failure::request(format!("the body is {}, expected a JSON object", kind(&other))))
            }
            Err(error) => Err(Failure::request(format!("the body is no JSON: {error}"))),
        }
    }

    /// The fields of an object inside of a request.
    pub fn of(name: &str, value: Value) -> Result<Fields, Failure> {
        match value {
            Value::Object(map) => Ok(Fields(map)),
            other => Err(wrong(name, "an object", &other)),
        }
    }

    /// A field of any type.
    pub fn any(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name).filter(|value| !value.is_null())
    }

    /// A text.
    pub fn text(&mut self, name: &str) -> Result<Option<String>, Failure> {
        match self.any(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(wrong(name, "a string", &other)),
        }
    }

    /// A truth value.
    pub fn flag(&mut self, name: &str) -> Result<Option<bool>, Failure> {
        match self.any(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(other) => Err(wrong(name, "true or false", &other)),
        }
    }

    /// A number in a range.
    pub fn number(&mut self, name: &str, range: RangeInclusive<f64>) -> Result<Option<f32>, Failure> {
        let Some(value) = self.any(name) else { return Ok(None) };
        let Some(number) = value.as_f64() else { return Err(wrong(name, "a number", &value)) };
        if !range.contains(&number) {
            let what = format!("is {number}, expected {} to {}", range.start(), range.end());
            return Err(Failure::field(name, what));
        }
        Ok(Some(number as f32))
    }

    /// A whole number in a range.
    pub fn whole(&mut self, name: &str, range: RangeInclusive<i64>) -> Result<Option<i64>, Failure> {
        let Some(value) = self.any(name) else { return Ok(None) };
        let fraction = value.as_f64().filter(|n| n.fract() == 0.0 && n.abs() < 9e15).map(|n| n as i64);
        match (value.as_i64().or(fraction), &value) {
            (Some(number), _) if range.contains(&number) => Ok(Some(number)),
            (_, Value::Number(number)) => {
                let what =
                    format!("is {number}, expected a whole number from {} to {}", range.start(), range.end());
                Err(Failure::field(name, what))
            }
            _ => Err(wrong(name, "a whole number", &value)),
        }
    }

    /// A list.
    pub fn list(&mut self, name: &str) -> Result<Option<Vec<Value>>, Failure> {
        match self.any(name) {
            None => Ok(None),
            Some(Value::Array(items)) => Ok(Some(items)),
            Some(other) => Err(wrong(name, "a list", &other)),
        }
    }

    /// An object.
    pub fn object(&mut self, name: &str) -> Result<Option<Map<String, Value>>, Failure> {
        match self.any(name) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(map)),
            Some(other) => Err(wrong(name, "an object", &other)),
        }
    }

    /// A text, or a list of at most `most` texts.
    pub fn texts(&mut self, name: &str, most: usize) -> Result<Vec<String>, Failure> {
        let items = match self.any(name) {
            None => return Ok(Vec::new()),
            Some(Value::String(text)) => return Ok(vec![text]),
            Some(Value::Array(items)) => items,
            Some(other) => return Err(wrong(name, "a string or a list of strings", &other)),
        };
        if items.len() > most {
            return Err(Failure::field(
                name,
                format!("has {} strings, expected {most} at most", items.len()),
            ));
        }
        let text = |(i, item)| match item {
            Value::String(text) => Ok(text),
            other => Err(wrong(&format!("{name}[{i}]"), "a string", &other)),
        };
        items.into_iter().enumerate().map(text).collect()
    }

    /// Refuses a field that asks for what is not there.
    pub fn refuse(&mut self, name: &str, what: &str) -> Result<(), Failure> {
        match self.any(name) {
            None | Some(Value::Bool(false)) => Ok(()),
            Some(_) => Err(Failure::unsupported(name, what)),
        }
    }
}

/// A value of the wrong type.
pub fn wrong(name: &str, expected: &str, value: &Value) -> Failure {
    Failure::field(name, format!("is {}, expected {expected}", kind(value)))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
