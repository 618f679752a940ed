//! What the `tokenizers` crate takes on trust in a `tokenizer.json`, and panics where it should not have: it is looked at first.

use serde_json::Value;

use super::charsmap;

/// Looks for it, wherever it stands.
///
/// # Errors
/// Says what cannot be trusted.
pub(super) fn check(json: &Value) -> Result<(), String> {
    merges(&json["model"])?;
    parts(json)
}

fn parts(json: &Value) -> Result<(), String> {
    match json {
        Value::Array(items) => items.iter().try_for_each(parts),
        Value::Object(members) => {
            match json["type"].as_str() {
                Some("Precompiled") => charsmap::check(&json["precompiled_charsmap"])?,
                Some("FixedLength") if json["length"] == 0 => {
                    return Err("it cuts texts into pieces of length 0".into());
                }
                Some("Replace") if json["pattern"]["Regex"] == "" || json["pattern"]["String"] == "" => {
                    return Err("it replaces what is nothing".into());
                }
                Some("TemplateProcessing") => template(json)?,
                _ => {}
            }
            members.values().try_for_each(parts)
        }
        _ => Ok(()),
    }
}

/// What begins and ends a text: the text itself, and special tokens that the template knows.
fn template(json: &Value) -> Result<(), String> {
    for piece in json["single"].as_array().into_iter().flatten() {
        if piece["Sequence"]["id"].as_str().is_some_and(|id| id != "A") {
            return Err("its template of one text has a second one".into());
        }
        if let Some(id) = piece["SpecialToken"]["id"].as_str()
            && json["special_tokens"].get(id).is_none()
        {
            return Err(format!("its template does not know its special token {id:?}"));
        }
    }
    Ok(())
}

/// What a merge makes is put where the longest token has room, and its prefix is taken off without looking.
fn merges(model: &Value) -> Result<(), String> {
    let tokens = model["vocab"].as_object().into_iter().flat_map(|tokens| tokens.keys());
    let longest = tokens.map(String::len).max().unwrap_or_default();
    let prefix = model["continuing_subword_prefix"].as_str().map_or(0, str::len);
    for merge in model["merges"].as_array().into_iter().flatten() {
        let parts = match merge {
            Value::String(text) => text.split_once(' '),
            parts => parts[0].as_str().zip(parts[1].as_str()),
        };
        let fits = |(a, b): (&str, &str)| b.get(prefix..).is_some_and(|b| a.len() + b.len() <= longest);
        if parts.is_some_and(|parts| !fits(parts)) {
            return Err(format!("the merge {merge} makes what is none of its tokens"));
        }
    }
    Ok(())
}
