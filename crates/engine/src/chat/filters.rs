//! Filters as jinja2 has them, where the engine's own write or take something else.

use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Environment, Error, State};

use super::guard::Marks;
use super::{json, methods, repr};

/// More is no indent but an attack.
const MAX_INDENT: usize = 128;

/// Adds the filters, and what prints values, to the environment of one rendering, whose marks nothing may change.
pub(super) fn add(environment: &mut Environment<'static>, marks: Option<&Marks>) {
    let marks = marks.cloned();
    let keep = move |c| marks.as_ref().is_some_and(|marks| marks.contains(c));
    let kept = keep.clone();
    environment.set_formatter(move |out, state, value| match repr::differs(value) {
        true => out.write_str(&repr::str(state, value, &kept)?).map_err(Error::from),
        false => minijinja::escape_formatter(out, state, value),
    });
    let kept = keep.clone();
    environment.add_filter("string", move |state: &State, value: &Value| match value.as_str() {
        Some(_) => Ok(value.clone()),
        None => repr::str(state, value, &kept).map(Value::from),
    });
    let kept = keep.clone();
    environment.add_filter("trim", move |state: &State, value: &Value, chars: Option<&str>| {
        let stripped = |c: char| chars.map_or_else(|| methods::is_space(c), |chars| chars.contains(c));
        match value.as_str() {
            Some(text) => Ok(text.trim_matches(stripped).to_owned()),
            None => repr::str(state, value, &kept).map(|text| text.trim_matches(stripped).to_owned()),
        }
    });
    for name in ["e", "escape"] {
        let kept = keep.clone();
        environment.add_filter(name, move |state: &State, value: &Value| -> Result<Value, Error> {
            if value.is_safe() {
                return Ok(value.clone());
            }
            let text = repr::str(state, value, &kept)?;
            let escaped = text.chars().fold(String::with_capacity(text.len()), |mut escaped, c| {
                match c {
                    '&' => escaped.push_str("&amp;"),
                    '<' => escaped.push_str("&lt;"),
                    '>' => escaped.push_str("&gt;"),
                    '\'' => escaped.push_str("&#39;"),
                    '"' => escaped.push_str("&#34;"),
                    c => escaped.push(c),
                }
                escaped
            });
            Ok(Value::from_safe_string(escaped))
        });
    }
    environment.add_filter(
        "tojson",
        move |state: &State, value: &Value, ascii: Option<bool>, args: Kwargs| {
            json::tojson(state, value, ascii, &args, &keep)
        },
    );
    environment.add_filter("indent", indent);
    environment.add_filter("int", int);
    environment.add_filter("float", float);
}

/// The text with all lines but the first set in.
fn indent(
    state: &State,
    text: &str,
    width: Option<Value>,
    first: Option<bool>,
    args: Kwargs,
) -> Result<String, Error> {
    let width = match width {
        None => args.get::<Option<Value>>("width")?,
        given => given,
    };
    let indent = match width {
        None => " ".repeat(4),
        Some(width) => match width.as_str() {
            Some(indent) => indent.chars().take(MAX_INDENT).collect(),
            None => " ".repeat(usize::try_from(width)?.min(MAX_INDENT)),
        },
    };
    let first = first.or(args.get("first")?).unwrap_or(false);
    let blank = args.get::<Option<bool>>("blank")?.unwrap_or(false);
    args.assert_all_used()?;
    // A text that ends in a line end has an empty line behind it.
    let ended = format!("{text}\n");
    let lines = methods::lines(&ended, false);
    state.consume_fuel((lines.len() * indent.len()) as u64 / 64)?;
    let mut out = String::with_capacity(text.len());
    for (i, line) in lines.into_iter().enumerate() {
        if i > 0 {
            out.push('\n');
        }
        if if i == 0 { first } else { blank || !line.is_empty() } {
            out.push_str(&indent);
        }
        out.push_str(line);
    }
    Ok(out)
}

/// A whole number, or the default where the value is none.
fn int(value: &Value, default: Option<Value>, args: Kwargs) -> Result<Value, Error> {
    let default = default.or(args.get("default")?).unwrap_or_else(|| 0.into());
    args.assert_all_used()?;
    if value.is_integer() {
        return Ok(value.clone());
    }
    let whole = value.as_str().and_then(|text| digits(text).parse::<i128>().ok());
    let number = whole.or_else(|| number(value).filter(|x| x.is_finite()).map(|x| x as i128));
    Ok(match number {
        Some(number) => i64::try_from(number).map_or_else(|_| number.into(), Value::from),
        None => default,
    })
}

/// A number with a point, or the default where the value is none.
fn float(value: &Value, default: Option<Value>, args: Kwargs) -> Result<Value, Error> {
    let default = default.or(args.get("default")?).unwrap_or_else(|| 0.0.into());
    args.assert_all_used()?;
    Ok(number(value).map_or(default, Value::from))
}

fn number(value: &Value) -> Option<f64> {
    match value.kind() {
        ValueKind::String => digits(value.as_str()?).parse().ok(),
        ValueKind::Bool => Some(f64::from(u8::from(value.is_true()))),
        _ => f64::try_from(value.clone()).ok(),
    }
}

/// What is between white space.
fn digits(text: &str) -> &str {
    text.trim_matches(methods::is_space)
}
