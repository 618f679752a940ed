//! What a model says, on standard output as it comes: thoughts are dim on a terminal, and nowhere else.

use std::io::{self, IsTerminal, Write};

use wgllm_engine::chat::Piece;

use super::{Quit, plain};

/// Where text goes.
pub struct Screen {
    is_terminal: bool,
    is_styled: bool,
    /// Whether the last piece was a thought.
    thinks: bool,
}

impl Screen {
    /// Standard output.
    pub fn new() -> Screen {
        let is_terminal = io::stdout().is_terminal();
        Screen { is_terminal, is_styled: is_terminal && is_styled(), thinks: false }
    }

    /// Shows a piece at once.
    pub fn show(&mut self, piece: &Piece) -> Result<(), Quit> {
        match piece {
            Piece::Thought(_) if !self.is_terminal => Ok(()),
            Piece::Thought(thought) => {
                let begin = match std::mem::replace(&mut self.thinks, true) {
                    true => "",
                    false if self.is_styled => "\x1b[2m",
                    false => "(thinking) ",
                };
                self.print(begin, thought)
            }
            Piece::Text(text) => {
                let begin = self.end_thought();
                self.print(begin, text)
            }
        }
    }

    /// Ends the line.
    pub fn end(&mut self) -> Result<(), Quit> {
        let begin = self.end_thought().trim_end();
        self.print(begin, "\n")
    }

    fn end_thought(&mut self) -> &'static str {
        match std::mem::replace(&mut self.thinks, false) {
            false => "",
            true if self.is_styled => "\x1b[22m\n\n",
            true => "\n(answer) ",
        }
    }

    fn print(&self, begin: &str, text: &str) -> Result<(), Quit> {
        let mut out = io::stdout().lock();
        out.write_all(begin.as_bytes())?;
        // A model can write whatever steers a terminal.
        match self.is_terminal {
            true => out.write_all(plain::lines(text).as_bytes())?,
            false => out.write_all(text.as_bytes())?,
        }
        Ok(out.flush()?)
    }
}

/// Whether text may be dim: https://no-color.org, and terminals that know nothing.
fn is_styled() -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    !set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}
