//! Parses the command line, runs a command, prints the error if there is one, and sets the exit code. What a command
//! does and prints is in `cli`, one file for each; everything else is the library's.

use std::io::Write;
use std::process::ExitCode;

mod cli;

fn main() -> ExitCode {
    match cli::run(std::env::args_os()) {
        Ok(code) => code,
        // Whoever read our output has seen enough, as in `wgllm | head -1`.
        Err(cli::Quit::Closed) => ExitCode::SUCCESS,
        Err(cli::Quit::Error(error)) => {
            let prefix = if matches!(error, wgllm::Error::Interrupted) { "" } else { "error: " };
            // If standard error is closed as well, the exit code still tells.
            let _ = writeln!(std::io::stderr(), "{prefix}{}", cli::plain::lines(&error.to_string()));
            ExitCode::from(error.exit_code())
        }
    }
}
