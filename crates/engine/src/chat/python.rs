//! The Jinja that chat templates are written in: what Hugging Face adds to it, and what Python's values can do that the
//! engine's cannot.

use std::fmt::Write as _;

use chrono::NaiveDateTime;
use chrono::format::{Item, Numeric, StrftimeItems};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind};

use super::guard::Marks;
use super::{filters, methods};

/// What a template said with `raise_exception`.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Raised(pub String);

/// Levels of macros in macros and loops in loops; a Windows thread's stack holds as many.
const MAX_RECURSION: usize = 200;

/// An environment for templates, as Hugging Face sets it up. What depends on the rendering comes with [`with_rendering`].
pub(super) fn environment() -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_recursion_limit(MAX_RECURSION);
    environment.set_unknown_method_callback(methods::call);
    environment.add_function("raise_exception", |what: String| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, what.clone()).with_source(Raised(what)))
    });
    // A text is a sequence in Python, and so is whatever can be indexed.
    environment.add_test("sequence", |value: &Value| {
        matches!(value.kind(), ValueKind::String | ValueKind::Seq | ValueKind::Iterable | ValueKind::Map)
    });
    environment.add_test("iterable", |value: &Value| !value.is_none() && value.try_iter().is_ok());
    Ok(environment)
}

/// The same with the clock and the marks of one rendering.
pub(super) fn with_rendering(
    environment: &Environment<'static>,
    now: NaiveDateTime,
    marks: Option<&Marks>,
) -> Environment<'static> {
    let mut environment = environment.clone();
    environment.add_function("strftime_now", move |format: &str| strftime(now, format));
    filters::add(&mut environment, marks);
    environment
}

/// A value of JSON as a template meets it.
pub(super) fn value(json: serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::from(()),
        serde_json::Value::Bool(x) => x.into(),
        serde_json::Value::Number(x) => match (x.as_i64(), x.as_u64()) {
            (Some(x), _) => x.into(),
            (_, Some(x)) => x.into(),
            _ => x.as_f64().unwrap_or(f64::NAN).into(),
        },
        serde_json::Value::String(text) => text.into(),
        serde_json::Value::Array(items) => items.into_iter().map(value).collect::<Vec<_>>().into(),
        serde_json::Value::Object(map) => Value::from_pairs(map.into_iter().map(|(key, v)| (key, value(v)))),
    }
}

/// Python's `strftime`.
fn strftime(now: NaiveDateTime, format: &str) -> Result<String, Error> {
    let wrong = || {
        let what = format!("strftime_now: {format:?} holds what is not known");
        Error::new(ErrorKind::InvalidOperation, what)
    };
    let item = |item| match item {
        Item::Error => Err(wrong()),
        // Python's fraction has six digits.
        Item::Numeric(Numeric::Nanosecond, _) => {
            Ok(Item::OwnedLiteral(format!("{:06}", now.and_utc().timestamp_subsec_micros()).into()))
        }
        item => Ok(item),
    };
    let items = StrftimeItems::new(format).map(item).collect::<Result<Vec<_>, _>>()?;
    let mut text = String::new();
    write!(text, "{}", now.format_with_items(items.iter())).map_err(|_| wrong())?;
    Ok(text)
}
