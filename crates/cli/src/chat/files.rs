//! What a chat writes to files and reads from them: conversations and texts.

use std::path::{Path, PathBuf};

use wgllm_engine::{Error, Result};

use super::flags::{check, usage};
use super::saved::Saved;
use super::talk::{Talk, is_settable};
use crate::config::place;
use crate::text::{self, plural};

/// Where `/save` and `/load` go if nobody says.
const FILE: &str = "wgllm-chat.json";

impl Talk<'_> {
    /// The file of an argument, or the one that was given for it, or the usual one.
    fn file(&self, argument: &str) -> PathBuf {
        match argument {
            "" => self.state.run.chat.history().unwrap_or(Path::new(FILE)).to_owned(),
            path => typed_path(path),
        }
    }

    pub(super) fn save(&mut self, argument: &str) -> Result<()> {
        let path = self.file(argument);
        let mut settings = self.state.settings.explicit();
        settings.retain(|(name, _)| is_settable(name));
        Saved::new(&self.dialog.conversation, &self.loaded.file_name, &settings).write(&path)?;
        let messages = self.dialog.conversation.messages.len();
        self.state.say(format_args!("({} in {})", plural(messages, "message"), path.display()));
        Ok(())
    }

    pub(super) fn load(&mut self, argument: &str) -> Result<()> {
        let path = self.file(argument);
        let saved = Saved::read(&path)?;
        let conversation = saved.conversation();
        let (mut settings, mut run) = (self.state.settings.clone(), self.state.run.clone());
        for (name, value) in saved.settings() {
            if !is_settable(name) {
                return Err(usage(format!("{}: {name} is nothing that /set sets", path.display())));
            }
            (settings, run) =
                settings.with(name, &value).map_err(|e| usage(format!("{}: {e}", path.display())))?;
        }
        check(self.loaded.template, &conversation, &run.chat.rendering())?;
        let messages = conversation.messages.len();
        self.dialog.restart(conversation);
        self.dialog.options = run.chat.rendering();
        (self.state.settings, self.state.run) = (settings, run);
        self.state.say(format_args!("({} of {})", plural(messages, "message"), path.display()));
        Ok(())
    }

    pub(super) fn read(&mut self, argument: &str) -> Result<()> {
        if argument.is_empty() {
            return Err(usage("/read takes the name of a text file"));
        }
        let bytes =
            std::fs::read(typed_path(argument)).map_err(|e| Error::Other(format!("{argument}: {e}")))?;
        let read = text::decode(argument, bytes)?;
        let lines = read.lines().count();
        self.state.read.push(read);
        self.state.say(format_args!("({argument}, {}: goes with your next message)", plural(lines, "line")));
        Ok(())
    }
}

/// The path that somebody typed or completed: with a home in front, within quotes, or with a backslash before what is no letter.
pub fn typed_path(typed: &str) -> PathBuf {
    if Path::new(typed).exists() {
        return typed.into();
    }
    let quoted = |quote| typed.strip_prefix(quote).and_then(|path: &str| path.strip_suffix(quote));
    let mut path = quoted('"').or(quoted('\'')).unwrap_or(typed).to_owned();
    if cfg!(unix) {
        let mut escaped = false;
        path.retain(|c| {
            escaped = c == '\\' && !escaped;
            !escaped
        });
    }
    match (path.strip_prefix("~/"), place::home()) {
        (Some(below), Some(home)) => home.join(below),
        _ => path.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_what_was_typed_or_completed() {
        let home = place::home().unwrap_or_default();
        for (typed, path) in [
            ("a.txt", PathBuf::from("a.txt")),
            ("\"a b.txt\"", "a b.txt".into()),
            ("'a b.txt'", "a b.txt".into()),
            ("~/x", home.join("x")),
            ("~x", "~x".into()),
        ] {
            assert_eq!(typed_path(typed), path, "{typed}");
        }
        if cfg!(unix) {
            assert_eq!(typed_path(r"a\ b\\c.txt"), PathBuf::from(r"a b\c.txt"));
        }
    }
}
