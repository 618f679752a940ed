//! The methods of Python's texts and lists that templates call: those that minijinja-contrib lacks, and those that it has with other
//! white space, other line ends or fewer arguments.

use minijinja::value::{Kwargs, Tuple, Value, from_args};
use minijinja::{Error, ErrorKind, State};
use minijinja_contrib::pycompat;

use super::repr;

/// Digits of a number in a format at most.
const MOST_WIDTH: usize = 4;

/// Calls a method of a value.
pub(super) fn call(state: &mut State, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    let of_text = value.as_str().and_then(|text| string(state, text, name, args).transpose());
    match of_text {
        Some(result) => result,
        None => match (name, args) {
            ("copy", []) if value.as_str().is_none() && value.try_iter().is_ok() => Ok(value.clone()),
            ("index", [item]) if value.as_str().is_none() => {
                let found = value.try_iter()?.position(|other| other == *item);
                found.map(Value::from).ok_or_else(|| wrong(format!("{item:?} is not in list")))
            }
            _ => pycompat::unknown_method_callback(state, value, name, args),
        },
    }
}

/// White space to Python.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1C}'..='\u{1F}').contains(&c)
}

/// Where Python ends lines.
fn is_line_end(c: char) -> bool {
    matches!(c, '\n'..='\r' | '\u{1C}'..='\u{1E}' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// The lines of a text, with their ends or without.
pub(super) fn lines(text: &str, ends: bool) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some((at, end)) = rest.char_indices().find(|&(_, c)| is_line_end(c)) {
        let length = if rest[at..].starts_with("\r\n") { 2 } else { end.len_utf8() };
        lines.push(&rest[..at + if ends { length } else { 0 }]);
        rest = &rest[at + length..];
    }
    if !rest.is_empty() {
        lines.push(rest);
    }
    lines
}

/// The methods of a text; none where minijinja-contrib's do.
fn string(state: &State, text: &str, name: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    let value = match name {
        // minijinja-contrib makes what is as wide as a template says, without fuel.
        "format" if text.split(|c: char| !c.is_ascii_digit()).any(|digits| digits.len() > MOST_WIDTH) => {
            return Err(wrong("a width of a format has too many digits"));
        }
        "strip" | "lstrip" | "rstrip" => {
            let (chars,): (Option<&str>,) = from_args(args)?;
            let stripped = |c: char| chars.map_or_else(|| is_space(c), |chars| chars.contains(c));
            match name {
                "strip" => text.trim_matches(stripped),
                "lstrip" => text.trim_start_matches(stripped),
                _ => text.trim_end_matches(stripped),
            }
            .into()
        }
        "split" | "rsplit" => {
            let (separator, most, named): (Option<Value>, Option<i64>, Kwargs) = from_args(args)?;
            let separator = match separator {
                None => named.get::<Option<Value>>("sep")?,
                given => given,
            };
            let most = match most {
                None => named.get::<Option<i64>>("maxsplit")?,
                given => given,
            };
            named.assert_all_used()?;
            let separator = separator.filter(|separator| !separator.is_none());
            let separator = match &separator {
                Some(separator) => Some(
                    separator.as_str().filter(|s| !s.is_empty()).ok_or_else(|| wrong("empty separator"))?,
                ),
                None => None,
            };
            let most = most.and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX - 1);
            let parts = split(text, separator, most, name == "rsplit");
            state.consume_fuel(parts.len() as u64)?;
            parts.into_iter().map(Value::from).collect::<Vec<_>>().into()
        }
        "splitlines" => {
            let (ends, named): (Option<bool>, Kwargs) = from_args(args)?;
            let ends = ends.or(named.get("keepends")?);
            named.assert_all_used()?;
            let lines = lines(text, ends.unwrap_or(false));
            state.consume_fuel(lines.len() as u64)?;
            lines.into_iter().map(Value::from).collect::<Vec<_>>().into()
        }
        "removeprefix" => {
            let (prefix,): (&str,) = from_args(args)?;
            text.strip_prefix(prefix).unwrap_or(text).into()
        }
        "removesuffix" => {
            let (suffix,): (&str,) = from_args(args)?;
            text.strip_suffix(suffix).unwrap_or(text).into()
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
            Value::from(Tuple::from(parts.map(Value::from)))
        }
        "find" | "rfind" | "index" | "rindex" => {
            let (what, start, end): (&str, Option<i64>, Option<i64>) = from_args(args)?;
            let found = part(text, start, end).and_then(|(before, part)| {
                let at = if name.starts_with('r') { part.rfind(what) } else { part.find(what) };
                at.map(|at| before + part[..at].chars().count())
            });
            match found {
                Some(at) => at.into(),
                None if name.ends_with("find") => Value::from(-1),
                None => return Err(wrong("substring not found")),
            }
        }
        "startswith" | "endswith" if args.len() > 1 => {
            let (what, start, end): (Value, Option<i64>, Option<i64>) = from_args(args)?;
            let whats = match what.as_str() {
                Some(what) => vec![what.to_owned()],
                None => what.try_iter()?.map(|what| what.to_string()).collect(),
            };
            part(text, start, end)
                .is_some_and(|(_, part)| {
                    whats.iter().any(|what| match name {
                        "startswith" => part.starts_with(&**what),
                        _ => part.ends_with(&**what),
                    })
                })
                .into()
        }
        "ljust" | "rjust" | "center" | "zfill" => {
            let (width, fill): (usize, Option<char>) = from_args(args)?;
            let missing = width.saturating_sub(text.chars().count());
            state.consume_fuel(missing as u64)?;
            let fill = fill.unwrap_or(if name == "zfill" { '0' } else { ' ' });
            let fill = |count: usize| std::iter::repeat_n(fill, count).collect::<String>();
            match name {
                "ljust" => [text, &fill(missing)].concat(),
                "rjust" => [&fill(missing), text].concat(),
                "zfill" => {
                    let sign = usize::from(text.starts_with(['+', '-']));
                    [&text[..sign], &fill(missing), &text[sign..]].concat()
                }
                _ => {
                    let left = missing / 2 + (missing & width & 1);
                    [&fill(left), text, &fill(missing - left)].concat()
                }
            }
            .into()
        }
        "title" => {
            let () = from_args(args)?;
            let mut inside = false;
            let letter = |c: char| {
                let was_inside = std::mem::replace(&mut inside, c.is_lowercase() || c.is_uppercase());
                match was_inside {
                    true => c.to_lowercase().collect::<String>(),
                    // Of what stands for one letter only the first is large.
                    false => {
                        let mut large = c.to_uppercase();
                        large.next().into_iter().chain(large.flat_map(char::to_lowercase)).collect()
                    }
                }
            };
            text.chars().map(letter).collect::<String>().into()
        }
        "swapcase" => {
            let () = from_args(args)?;
            let swapped = |c: char| match c.is_uppercase() {
                true => c.to_lowercase().collect::<String>(),
                false => c.to_uppercase().collect(),
            };
            text.chars().map(swapped).collect::<String>().into()
        }
        "casefold" => {
            let () = from_args(args)?;
            text.to_lowercase().replace('ß', "ss").into()
        }
        "isspace" => {
            let () = from_args(args)?;
            (!text.is_empty() && text.chars().all(is_space)).into()
        }
        "isprintable" => {
            let () = from_args(args)?;
            text.chars().all(repr::is_printable).into()
        }
        _ => return Ok(None),
    };
    Ok(Some(value))
}

/// The parts of a text between separators, or between white space; `most` cuts, counted from the end if `last`.
fn split<'t>(text: &'t str, separator: Option<&str>, most: usize, last: bool) -> Vec<&'t str> {
    let Some(separator) = separator else { return words(text, most, last) };
    if !last {
        return text.splitn(most + 1, separator).collect();
    }
    let mut parts: Vec<&str> = text.rsplitn(most + 1, separator).collect();
    parts.reverse();
    parts
}

/// The words of a text, of which the last (the first, if counted from the end) is all that is left after `most` cuts.
fn words(text: &str, most: usize, last: bool) -> Vec<&str> {
    let trim = |rest: &'_ str| -> usize {
        if last {
            rest.trim_end_matches(is_space).len()
        } else {
            rest.len() - rest.trim_start_matches(is_space).len()
        }
    };
    let mut words = Vec::new();
    let mut rest = text;
    loop {
        let cut = trim(rest);
        rest = if last { &rest[..cut] } else { &rest[cut..] };
        if rest.is_empty() {
            break;
        }
        let space = if last { rest.rfind(is_space) } else { rest.find(is_space) };
        match space.filter(|_| words.len() < most) {
            None => {
                words.push(rest);
                break;
            }
            Some(at) if last => {
                words.push(&rest[at + rest[at..].chars().next().map_or(0, char::len_utf8)..]);
                rest = &rest[..at];
            }
            Some(at) => {
                words.push(&rest[..at]);
                rest = &rest[at..];
            }
        }
    }
    if last {
        words.reverse();
    }
    words
}

/// The characters `start..end` of a text as Python counts them, and how many are in front; none where the start is behind the end.
fn part(text: &str, start: Option<i64>, end: Option<i64>) -> Option<(usize, &str)> {
    let count = text.chars().count();
    let place = |at: i64| {
        let at = if at < 0 { at.saturating_add(count as i64) } else { at };
        at.max(0) as usize
    };
    let (start, end) = (start.map_or(0, place), end.map_or(count, place).min(count));
    let byte = |at: usize| text.char_indices().nth(at).map_or(text.len(), |(byte, _)| byte);
    (start <= end).then(|| (start, &text[byte(start)..byte(end)]))
}

fn wrong(what: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidOperation, what)
}
