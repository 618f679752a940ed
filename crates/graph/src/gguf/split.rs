//! Split models: how the files of one model are named, and what each must say of its place among them.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::gguf::part::{MAX_TENSORS, Part};

/// Opens a file, and if it is the first part of a split model, the other parts beside it.
pub(super) fn open(path: &Path) -> Result<Vec<Part>> {
    let first = Part::open(path)?;
    let count = count(&first)?;
    let mut tensors = first.tensors().len();
    let mut parts = vec![first];
    for number in 2..=count {
        let part = Part::open(&sibling(path, number, count)?).map_err(|e| match e {
            Error::Model(what) => Error::Model(format!("{what} (part {number} of {count})")),
            other => other,
        })?;
        tensors += part.tensors().len();
        if tensors > MAX_TENSORS {
            return Err(part.error(format!("is where the parts have more than {MAX_TENSORS} tensors")));
        }
        parts.push(part);
    }
    Ok(parts)
}

/// Checks that `parts` are all parts of their model, in order, with all their tensors.
pub(super) fn check(parts: &[Part]) -> Result<()> {
    let count = count(&parts[0])?;
    // What a whole file says of parts changes nothing.
    if count == 1 && parts.len() == 1 {
        return Ok(());
    }
    if count as usize != parts.len() {
        return Err(parts[0].error(format!("key split.count is {count}, expected {}", parts.len())));
    }
    for (at, part) in parts.iter().enumerate() {
        for (key, expected) in [("split.no", at), ("split.count", parts.len())] {
            match part.metadata().u32(key).map_err(|e| part.about(e))? {
                Some(found) if found as usize == expected => {}
                Some(found) => {
                    return Err(part.error(format!(
                        "key {key} is {found}, expected {expected}; open the first part of a split model"
                    )));
                }
                None => return Err(part.error(format!("key {key} is missing, expected {expected}"))),
            }
        }
    }
    let tensors: usize = parts.iter().map(|part| part.tensors().len()).sum();
    match parts[0].metadata().u32("split.tensors.count").map_err(|e| parts[0].about(e))? {
        Some(said) if said as usize != tensors => {
            let what = format!("key split.tensors.count is {said}, the {count} parts have {tensors}");
            Err(parts[0].error(what))
        }
        _ => Ok(()),
    }
}

fn count(first: &Part) -> Result<u32> {
    let count = first.metadata().u32("split.count").map_err(|e| first.about(e))?;
    Ok(count.unwrap_or(1).max(1))
}

/// The path of another part: `NAME-00001-of-0000N.gguf` with another number.
fn sibling(first: &Path, number: u32, count: u32) -> Result<PathBuf> {
    let name = first.file_name().unwrap_or_default();
    match without_end(name, &format!("-00001-of-{count:05}.gguf")) {
        Some(mut name) => {
            name.push(format!("-{number:05}-of-{count:05}.gguf"));
            Ok(first.with_file_name(name))
        }
        None => {
            let what = format!(
                "key split.count is {count}; open the first part, whose name ends in -00001-of-{count:05}.gguf"
            );
            Err(Error::Model(what).in_file(first))
        }
    }
}

/// What is before `end` in a file's name, which need not be UTF-8.
#[cfg(unix)]
fn without_end(name: &OsStr, end: &str) -> Option<OsString> {
    use std::os::unix::ffi::OsStrExt;
    name.as_bytes().strip_suffix(end.as_bytes()).map(|stem| OsStr::from_bytes(stem).into())
}

#[cfg(not(unix))]
fn without_end(name: &OsStr, end: &str) -> Option<OsString> {
    name.to_str()?.strip_suffix(end).map(OsString::from)
}
