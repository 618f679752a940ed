//! The Jinja that chat templates are written in: what Hugging Face adds to it, and what Python's values can do that the
//! engine's cannot.

use std::fmt::{self, Write as _};

use chrono::NaiveDateTime;
use chrono::format::{Item, Numeric, StrftimeItems};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Tuple, Value, ValueKind, from_args};
use minijinja::{Environment, Error, ErrorKind, State};
use minijinja_contrib::pycompat;

use super::guard::Marks;
use super::json;

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
    environment.set_unknown_method_callback(method);
    environment.add_function("raise_exception", |what: String| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, what.clone()).with_source(Raised(what)))
    });
    // A text is a sequence in Python, and so is whatever can be indexed.
    environment.add_test("sequence", |value: &Value| {
        matches!(value.kind(), ValueKind::String | ValueKind::Seq | ValueKind::Iterable | ValueKind::Map)
    });
    environment.add_filter("string", string);
    environment.add_test("iterable", |value: &Value| !value.is_none() && value.try_iter().is_ok());
    Ok(environment)
}

/// The filter `string`. A value may hold itself many times over: its text is bounded before it is made.
fn string(state: &State, value: &Value) -> Result<Value, Error> {
    struct Bounded {
        text: String,
        room: usize,
    }
    impl fmt::Write for Bounded {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.room = self.room.checked_sub(text.len()).ok_or(fmt::Error)?;
            self.text.push_str(text);
            Ok(())
        }
    }
    if value.as_str().is_some() {
        return Ok(value.clone());
    }
    let room = state.fuel_levels().map_or(usize::MAX, |(_, left)| (left as usize).saturating_mul(4));
    let mut out = Bounded { text: String::new(), room };
    write!(out, "{value}").map_err(|_| Error::from(ErrorKind::OutOfFuel))?;
    state.consume_fuel(out.text.len() as u64 / 4)?;
    Ok(out.text.into())
}

/// The same with the clock and the marks of one rendering.
pub(super) fn with_rendering(
    environment: &Environment<'static>,
    now: NaiveDateTime,
    marks: Option<Marks>,
) -> Environment<'static> {
    let mut environment = environment.clone();
    environment.add_function("strftime_now", move |format: &str| strftime(now, format));
    environment.add_filter(
        "tojson",
        move |state: &State, value: &Value, ascii: Option<bool>, args: Kwargs| {
            let keep = |c| marks.as_ref().is_some_and(|marks| marks.contains(c));
            json::tojson(state, value, ascii, &args, keep)
        },
    );
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

/// `{% generation %}` says where the assistant speaks, which only training asks for: it becomes a plain scope.
pub(super) fn without_generation(template: &str) -> String {
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, tag)) = rest.split_once("{%") {
        out.push_str(before);
        out.push_str("{%");
        rest = tag;
        let Some((tag, _)) = rest.split_once("%}") else { break };
        let name = tag.trim_matches(|c: char| c.is_whitespace() || c == '-' || c == '+');
        let plain = match name {
            "generation" => "with",
            "endgeneration" => "endwith",
            _ => continue,
        };
        out.push_str(&tag.replace(name, plain));
        rest = &rest[tag.len()..];
    }
    out + rest
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

/// Python's methods: those that minijinja-contrib has, and a few more.
fn method(state: &mut State, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    let Some(text) = value.as_str() else {
        return pycompat::unknown_method_callback(state, value, name, args);
    };
    match name {
        "removeprefix" => {
            let (prefix,): (&str,) = from_args(args)?;
            Ok(text.strip_prefix(prefix).unwrap_or(text).into())
        }
        "removesuffix" => {
            let (suffix,): (&str,) = from_args(args)?;
            Ok(text.strip_suffix(suffix).unwrap_or(text).into())
        }
        "partition" | "rpartition" => {
            let (separator,): (&str,) = from_args(args)?;
            let first = name == "partition";
            let cut = if first { text.split_once(separator) } else { text.rsplit_once(separator) };
            let parts = match cut {
                Some((before, behind)) => [before, separator, behind],
                None if first => [text, "", ""],
                None => ["", "", text],
            };
            Ok(Value::from(Tuple::from(parts.map(Value::from))))
        }
        "rsplit" => {
            let (separator, most): (Option<&str>, Option<i64>) = from_args(args)?;
            let Some(most) = most.and_then(|most| usize::try_from(most).ok()) else {
                return pycompat::unknown_method_callback(state, value, "split", &args[..args.len().min(1)]);
            };
            let Some(separator) = separator.filter(|s| !s.is_empty()) else {
                let what = "rsplit with a number of parts needs a separator";
                return Err(Error::new(ErrorKind::InvalidOperation, what));
            };
            let mut parts: Vec<Value> =
                text.rsplitn(most.saturating_add(1), separator).map(Value::from).collect();
            parts.reverse();
            Ok(parts.into())
        }
        _ => pycompat::unknown_method_callback(state, value, name, args),
    }
}
