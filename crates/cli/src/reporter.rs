//! What goes to standard error: lines about the run, and progress bars. `-q` turns all of it off but errors.

use std::fmt::Display;
use std::io::{IsTerminal, Write};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::plain;

/// How much to say.
#[derive(Args, Clone)]
#[command(next_help_heading = "Output")]
pub struct Reporter {
    /// Print nothing but the result and errors
    #[arg(short, long, conflicts_with_all = ["verbose", "log_level"])]
    quiet: bool,
    /// Say more about what is done
    #[arg(short, long, conflicts_with = "log_level")]
    verbose: bool,
    /// The same in other words: error and warn are -q, debug and trace are -v
    #[arg(long, value_name = "L", value_parser = ["error", "warn", "info", "debug", "trace"])]
    log_level: Option<String>,
    /// Show no progress bars
    #[arg(long, env = "WGLLM_NO_PROGRESS", hide_env = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub no_progress: bool,
}

impl Reporter {
    /// Whether only results and errors are wanted.
    pub fn is_quiet(&self) -> bool {
        self.quiet || matches!(self.log_level.as_deref(), Some("error" | "warn"))
    }

    fn is_verbose(&self) -> bool {
        self.verbose || matches!(self.log_level.as_deref(), Some("debug" | "trace"))
    }

    /// Prints a line.
    pub fn say(&self, line: impl Display) {
        if !self.is_quiet() {
            self.always(line);
        }
    }

    /// Prints what a flag of its own asks for, `-q` or not.
    pub fn always(&self, line: impl Display) {
        // Nothing depends on these lines: a closed standard error is no reason to stop.
        let _ = writeln!(std::io::stderr(), "{}", plain::lines(&line.to_string()));
    }

    /// Prints a line that only `-v` asks for.
    pub fn detail(&self, line: impl Display) {
        if self.is_verbose() {
            self.say(line);
        }
    }

    /// A bar over bytes; hidden unless standard error is a terminal.
    pub fn bytes_bar(&self, what: &'static str) -> ProgressBar {
        self.bar(what, "{msg} {wide_bar} {bytes} of {total_bytes}")
    }

    /// A bar over bytes that come from elsewhere, with their speed and the time left.
    #[cfg(feature = "pull")]
    pub fn fetch_bar(&self, what: &'static str) -> ProgressBar {
        self.bar(what, "{msg} {wide_bar} {bytes} of {total_bytes} · {bytes_per_sec} · {eta} left")
    }

    /// A bar over steps.
    pub fn steps_bar(&self, what: &'static str) -> ProgressBar {
        self.bar(what, "{msg} {wide_bar} {pos} of {len}")
    }

    fn bar(&self, what: &'static str, template: &str) -> ProgressBar {
        if self.is_quiet() || self.no_progress || !std::io::stderr().is_terminal() {
            return ProgressBar::hidden();
        }
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        ProgressBar::new(0).with_style(style).with_message(what)
    }
}
