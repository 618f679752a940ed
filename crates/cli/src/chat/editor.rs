//! The line editor: several lines, a history that outlives the program, and what Tab completes.

use std::path::PathBuf;

use rustyline::completion::{Completer, FilenameCompleter, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{CompletionType, Config, Context, Helper};
use wgllm_engine::{Error, Result};

use super::commands::{COMMANDS, Takes};
use crate::config::place;

/// Lines that are remembered.
const REMEMBERED: usize = 1000;

/// Longer lines are not remembered: what was pasted is not what is typed again. In bytes.
const LONGEST: usize = 64 << 10;

/// What came of asking for a line.
pub enum Line {
    /// This was typed or pasted; it may have several lines.
    Text(String),
    /// Ctrl-C, on an empty line or on one that is given up.
    Interrupt { was_empty: bool },
    /// Ctrl-D, or the terminal is gone.
    End,
}

/// The editor of one chat.
pub struct Editor {
    editor: rustyline::Editor<Typist, FileHistory>,
    history: Option<PathBuf>,
}

impl Editor {
    /// An editor that remembers what was typed into earlier chats.
    pub fn new() -> Result<Editor> {
        let config = Config::builder()
            .max_history_size(REMEMBERED)
            .map(|builder| builder.completion_type(CompletionType::List).auto_add_history(false).build())
            .map_err(failed)?;
        let mut editor = rustyline::Editor::with_config(config).map_err(failed)?;
        editor.set_helper(Some(Typist { paths: FilenameCompleter::new(), empty: true.into() }));
        let history = place::history();
        if let Some(path) = &history {
            // There is none at the first start; and one that cannot be read is no reason not to talk.
            let _ = editor.load_history(path);
        }
        Ok(Editor { editor, history })
    }

    /// Asks for a line.
    pub fn read(&mut self, prompt: &str) -> Result<Line> {
        if let Some(typist) = self.editor.helper() {
            typist.empty.set(true);
        }
        match self.editor.readline(prompt) {
            Ok(text) => {
                let text = text.replace("\\\n", "\n");
                self.remember(&text);
                Ok(Line::Text(text))
            }
            Err(ReadlineError::Interrupted) => {
                let was_empty = self.editor.helper().is_none_or(|typist| typist.empty.get());
                Ok(Line::Interrupt { was_empty })
            }
            Err(ReadlineError::Eof) => Ok(Line::End),
            // The terminal was closed.
            Err(ReadlineError::Io(error)) if error.raw_os_error() == Some(5) => Ok(Line::End),
            Err(error) => Err(failed(error)),
        }
    }

    fn remember(&mut self, text: &str) {
        if text.trim().is_empty() || text.len() > LONGEST {
            return;
        }
        let added = self.editor.add_history_entry(text).unwrap_or(false);
        if let Some(path) = self.history.as_ref().filter(|_| added) {
            // At once: a program that is ended has no time for it. What cannot be written is no reason not to talk.
            let folder = path.parent().map(std::fs::create_dir_all);
            if folder.is_none_or(|made| made.is_ok()) {
                let _ = self.editor.append_history(path);
            }
        }
    }
}

fn failed(error: ReadlineError) -> Error {
    Error::Other(format!("the terminal: {error}"))
}

/// What the editor asks while somebody types.
struct Typist {
    paths: FilenameCompleter,
    /// Whether nothing stands in the line.
    empty: std::cell::Cell<bool>,
}

impl Helper for Typist {}
impl Highlighter for Typist {}

impl Hinter for Typist {
    type Hint = String;

    fn hint(&self, line: &str, _pos: usize, _ctx: &Context<'_>) -> Option<String> {
        self.empty.set(line.is_empty());
        None
    }
}

impl Validator for Typist {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        let backslashes = context.input().chars().rev().take_while(|&c| c == '\\').count();
        Ok(match backslashes % 2 {
            1 => ValidationResult::Incomplete,
            _ => ValidationResult::Valid(None),
        })
    }
}

impl Completer for Typist {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        pos: usize,
        context: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        let typed = &line[..pos];
        if !typed.starts_with('/') {
            return Ok((pos, Vec::new()));
        }
        let Some(space) = typed.find(' ') else {
            let names = COMMANDS.iter().flat_map(|command| command.names).copied();
            return Ok((0, beginning(typed, names)));
        };
        let name = &typed[..space];
        let Some(command) = COMMANDS.iter().find(|command| command.names.contains(&name)) else {
            return Ok((pos, Vec::new()));
        };
        let start = typed.rfind(' ').map_or(pos, |at| at + 1);
        match command.takes {
            Takes::Text => Ok((pos, Vec::new())),
            Takes::Path => self.paths.complete(line, pos, context),
            Takes::Words(words) if typed[..start].trim_end() == name => {
                Ok((start, beginning(&typed[start..], words.iter().copied())))
            }
            // What `/config save` takes.
            Takes::Words(words) if words.contains(&"save") => self.paths.complete(line, pos, context),
            Takes::Words(_) => Ok((pos, Vec::new())),
        }
    }
}

fn beginning<'a>(typed: &str, words: impl Iterator<Item = &'a str>) -> Vec<Pair> {
    let pair = |word: &str| Pair { display: word.to_owned(), replacement: format!("{word} ") };
    words.filter(|word| word.starts_with(typed)).map(pair).collect()
}
