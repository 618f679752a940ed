//! The fields of a request's JSON: each is asked for by name, and one that makes no sense is named in the answer.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::failure::Failure;
use super::schema::Schema;

/// How much of a body that is too large is read all the same, in bodies of the most that is allowed, and how long at most.
const WASTED: usize = 4;
const WASTED_TIME: Duration = Duration::from_secs(5);

/// The members of an object. `null` is the same as nothing.
#[derive(Clone, Debug)]
pub struct Fields(Map<String, Value>);

impl Fields {
    /// Reads a body of at most `limit` bytes, for which its sender has so much time.
    pub async fn read(
        headers: &HeaderMap,
        mut body: Body,
        limit: usize,
        time: Duration,
    ) -> Result<Fields, Failure> {
        if let Some(coding) = headers.get(header::CONTENT_ENCODING).filter(|coding| *coding != "identity") {
            return Err(Failure::coding(&String::from_utf8_lossy(coding.as_bytes())));
        }
        let length = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
        let wasted = limit.saturating_mul(WASTED);
        if let Some(length) = length.filter(|&length| length > limit as u64) {
            // Who asks before sending is told before.
            if length <= wasted as u64 && !headers.contains_key(header::EXPECT) {
                discard(body, wasted).await;
            }
            return Err(Failure::too_large(limit));
        }
        let read = tokio::time::timeout(time, Limited::new(&mut body, limit).collect()).await;
        let read = read.map_err(|_| {
            let message = format!("the body did not come within {} s", time.as_secs());
            Failure::timeout(StatusCode::REQUEST_TIMEOUT, message)
        })?;
        match read {
            Ok(body) => Fields::parse(&body.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => {
                discard(body, wasted).await;
                Err(Failure::too_large(limit))
            }
            Err(error) => Err(Failure::request(format!("the body could not be read: {error}"))),
        }
    }

    /// Reads an object.
    pub fn parse(body: &[u8]) -> Result<Fields, Failure> {
        // Some systems mark UTF-8 in front.
        let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
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

    /// Takes the fields of a type that are there, and holds them to its schema.
    pub fn take<T: ToSchema + DeserializeOwned + 'static>(&mut self) -> Result<T, Failure> {
        let schema = Schema::of::<T>();
        let taken = schema.members().filter_map(|name| Some((name.clone(), self.any(name)?)));
        let mut taken = Value::Object(taken.collect());
        schema.check("", &mut taken)?;
        serde_json::from_value(taken).map_err(|error| Failure::request(error.to_string()))
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

    /// Refuses a field that asks for what is not there; `false`, 0 and an empty text ask for nothing.
    pub fn refuse(&mut self, name: &str, what: &str) -> Result<(), Failure> {
        match self.any(name) {
            None | Some(Value::Bool(false)) => Ok(()),
            Some(Value::String(text)) if text.is_empty() => Ok(()),
            Some(Value::Number(number)) if number.as_f64() == Some(0.0) => Ok(()),
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

/// Reads what is left of a body for nothing: who is still sending does not see the answer of a connection that is closed.
async fn discard(body: Body, most: usize) {
    let mut rest = Limited::new(body, most);
    let read = async { while let Some(Ok(_)) = rest.frame().await {} };
    let _ = tokio::time::timeout(WASTED_TIME, read).await;
}
