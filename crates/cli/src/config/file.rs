//! A file of settings: read with the line of everything, held to what is known, and written without losing what else is in it.

use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use toml::de::{DeTable, DeValue};
use wgllm_engine::replace::Replacement;
use wgllm_engine::{Error, Result};

use super::{Key, dashed, nearest};
use crate::text;

/// A file that was read.
#[derive(Clone, Debug)]
pub struct File {
    path: PathBuf,
    text: String,
    entries: Vec<Entry>,
}

/// A key and what it is set to.
#[derive(Clone, Debug)]
struct Entry {
    /// The flag's long name.
    name: String,
    value: String,
    line: usize,
    /// The bytes of the value.
    span: Range<usize>,
}

impl File {
    /// Reads a file of these keys.
    ///
    /// # Errors
    /// [`Error::Usage`] with the line where it is no TOML, where a key is not known, with the nearest that is, or where a value cannot be.
    pub fn read(path: &Path, keys: &[Key]) -> Result<File> {
        let at = path.display().to_string();
        let bytes = std::fs::read(path).map_err(|e| Error::Usage(format!("{at}: {e}")))?;
        let text = text::decode(&at, bytes)?;
        let wrong = |line: usize, what: String| Error::Usage(format!("{at}, line {line}: {what}"));
        let table = DeTable::parse(&text).map_err(|e| {
            wrong(line_of(&text, e.span().map_or(0, |span| span.start)), e.message().replace('\n', ", "))
        })?;
        let mut entries: Vec<Entry> = Vec::new();
        for (key, value) in table.get_ref() {
            let line = line_of(&text, key.span().start);
            let given: &str = key.get_ref();
            let name = dashed(given);
            let is = |key: &&Key| key.name == name || key.aliases.contains(&name);
            let Some(key) = keys.iter().find(is) else {
                return Err(wrong(line, unknown(given, value.get_ref(), keys)));
            };
            if let Some(other) = entries.iter().find(|entry| entry.name == key.name) {
                return Err(wrong(line, format!("{given} is {} of line {}", key.name, other.line)));
            }
            let value_text = match value.get_ref() {
                DeValue::Boolean(value) if key.is_switch => value.to_string(),
                _ if key.is_switch => return Err(wrong(line, format!("{given} is true or false"))),
                DeValue::String(value) => value.clone().into_owned(),
                // With its base in front, which flags do not take: 0x10 is no 10.
                DeValue::Integer(value) => value.to_string(),
                DeValue::Float(value) => value.as_str().to_owned(),
                _ => return Err(wrong(line, format!("{given} is a text or a number"))),
            };
            entries.push(Entry { name: key.name.clone(), value: value_text, line, span: value.span() });
        }
        drop(table);
        entries.sort_by_key(|entry| entry.line);
        Ok(File { path: path.to_owned(), text, entries })
    }

    /// Refuses values that their flags would not take: `command` has the flags, and `typed` reads them without the environment.
    pub fn check(&self, command: &clap::Command, typed: &clap::Command) -> Result<()> {
        for entry in &self.entries {
            let flag = format!("--{}={}", entry.name, entry.value);
            let has = |command: &clap::Command| {
                command.get_arguments().any(|arg| is_key(arg, &entry.name) && arg.get_action().takes_values())
            };
            let below =
                || command.get_subcommands().find(|command| has(command)).map(clap::Command::get_name);
            let args = match has(command) {
                true => vec!["wgllm", &flag],
                false => match below() {
                    Some(name) => vec!["wgllm", name, &flag],
                    None => continue,
                },
            };
            if let Err(error) = typed.clone().try_get_matches_from(args)
                && matches!(error.kind(), ErrorKind::InvalidValue | ErrorKind::ValueValidation)
            {
                let what = first_line(&error);
                return Err(Error::Usage(format!("{}, line {}: {what}", self.path.display(), entry.line)));
            }
        }
        Ok(())
    }

    /// Makes its values, but those that `skip` says, the defaults of a command and of those below it.
    pub fn apply(&self, command: clap::Command, skip: &dyn Fn(&str) -> bool) -> clap::Command {
        let entry = |arg: &clap::Arg| {
            self.entries.iter().find(|entry| is_key(arg, &entry.name) && !skip(&entry.name))
        };
        let defaults = |arg: clap::Arg| match entry(&arg) {
            // Lives as long as the program, of which there is one.
            Some(entry) => arg.default_value(&*Box::leak(entry.value.clone().into_boxed_str())),
            None => arg,
        };
        command.mut_args(defaults).mut_subcommands(|command| self.apply(command, skip))
    }

    /// The line on which a flag is set.
    pub fn line(&self, name: &str) -> Option<usize> {
        self.entries.iter().find(|entry| entry.name == name).map(|entry| entry.line)
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file in which these flags are set: what stands in it otherwise stays, comments too.
    pub fn write(path: &Path, settings: &[(String, String)], keys: &[Key]) -> Result<()> {
        let (mut text, entries) = match path.exists() {
            true => File::read(path, keys).map(|file| (file.text, file.entries))?,
            false => (String::new(), Vec::new()),
        };
        // From the end on, so that places before it stay.
        let mut entries = entries;
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.span.start));
        for entry in &entries {
            if let Some((_, value)) = settings.iter().find(|(name, _)| *name == entry.name) {
                text.replace_range(entry.span.clone(), &toml_value(value));
            }
        }
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        for (name, value) in settings {
            if entries.iter().all(|entry| entry.name != *name) {
                text.push_str(&format!("{name} = {}\n", toml_value(value)));
            }
        }
        let write = || -> io::Result<()> {
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder)?;
            }
            let mut file = Replacement::create(path)?;
            file.write_all(text.as_bytes())?;
            file.finish()
        };
        write().map_err(|e| Error::Other(format!("{}: {e}", path.display())))
    }
}

/// A flag that the file may set, by its long name.
fn is_key(arg: &clap::Arg, name: &str) -> bool {
    arg.get_long() == Some(name) && arg.get_env().is_some()
}

/// A value as TOML: numbers and truths bare, everything else a text.
fn toml_value(value: &str) -> String {
    let bare = value == "true"
        || value == "false"
        || value.parse::<i64>().is_ok_and(|n| n.to_string() == value)
        || value.contains('.') && value.parse::<f64>().is_ok_and(|n| n.to_string() == value);
    // A text of JSON is one of TOML, but for a character that only TOML wants escaped.
    let text = || serde_json::Value::from(value).to_string().replace('\u{7f}', "\\u007f");
    if bare { value.to_owned() } else { text() }
}

fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes()[..at.min(text.len())].iter().filter(|&&byte| byte == b'\n').count() + 1
}

fn unknown(given: &str, value: &DeValue<'_>, keys: &[Key]) -> String {
    if matches!(value, DeValue::Table(_)) {
        return format!(
            "there are no sections such as [{given}]: every key stands by itself, such as temp = 0.8"
        );
    }
    let names = || keys.iter().flat_map(|key| key.aliases.iter().map(String::as_str).chain([&*key.name]));
    match nearest(&dashed(given), names()) {
        Some(name) => format!("{given} is not known; the nearest is {name}"),
        None => format!(
            "{given} is not known; `wgllm --help` lists the flags, of which those with a variable are keys"
        ),
    }
}

/// What clap says, without the advice behind it.
pub fn first_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let text = text.split("\n\nFor more").next().unwrap_or_default().trim_start_matches("error: ");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
